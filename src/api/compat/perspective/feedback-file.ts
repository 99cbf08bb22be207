/** Suggested scores, appended to a JSON Lines file: whole lines or none, up to a size. */
import { type FileHandle, open } from 'node:fs/promises';

export interface FeedbackFile {
  /** @returns false when the line would make the file larger than it may be; nothing is written then */
  append(record: object): Promise<boolean>;
}

/** Comments are people's texts: readable for the service's own user only. */
const MODE = 0o600;
const NEWLINE = 0x0a;

/**
 * Opens the file, or makes it. Only one process may append to it.
 *
 * @param maxBytes of the whole file
 * @throws Error when it cannot be written
 */
export async function openFeedbackFile(path: string, maxBytes: number): Promise<FeedbackFile> {
  const file = await open(path, 'a+', MODE);
  if (!(await file.stat()).isFile()) throw new Error('not a plain file');
  await endLine(file);
  let last: Promise<unknown> = Promise.resolve();
  return {
    append(record) {
      const line = Buffer.from(`${JSON.stringify(record)}\n`);
      // One after another: a line that fails is taken back, and no other may follow it before.
      const written = last.then(() => appendWhole(file, line, maxBytes));
      last = written.catch(() => {});
      return written;
    },
  };
}

async function appendWhole(file: FileHandle, line: Buffer, maxBytes: number): Promise<boolean> {
  const { size } = await file.stat();
  if (size + line.length > maxBytes) return false;
  try {
    const { bytesWritten } = await file.write(line);
    if (bytesWritten < line.length) throw new Error('The disk took only a part of a line');
  } catch (error) {
    await file.truncate(size);
    throw error;
  }
  return true;
}

/** A process that was killed may have left half a line: what follows starts on its own. */
async function endLine(file: FileHandle): Promise<void> {
  const { size } = await file.stat();
  if (size === 0) return;
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
  if (buffer[0] !== NEWLINE) await file.write('\n');
}
