/** Standard output: nothing to go on with after a kill. */
import { once } from 'node:events';
import { type FileHandle, open } from 'node:fs/promises';
import type { Writable } from 'node:stream';

import { badLines } from './bad-rows.ts';
import { NOTHING_DONE } from './journal.ts';
import { advance, type Output } from './output.ts';
import type { Note } from './table.ts';

/**
 * @param badPath file of bad rows; without one they are only counted
 */
export async function openStreamOutput(
  stream: Writable,
  head: Uint8Array,
  badPath: string | undefined,
): Promise<Output> {
  let progress = NOTHING_DONE;
  const notes: Note[] = [];
  const bad: FileHandle | undefined = badPath === undefined ? undefined : await open(badPath, 'w');
  let failure: Error | undefined;
  stream.on('error', (error) => {
    failure = error;
  });

  async function send(bytes: Uint8Array): Promise<void> {
    if (failure !== undefined) throw failure;
    if (!stream.write(bytes)) await once(stream, 'drain');
  }

  await send(head);
  progress = { ...progress, output: head.length };
  return {
    get progress() {
      return progress;
    },
    async write(chunk, cells, badRows, flagged) {
      const { bytes, note } = chunk.encode(cells, progress.output);
      if (note !== undefined) notes.push(note);
      await send(bytes);
      const lines = badLines(badRows);
      await bad?.appendFile(lines);
      progress = advance(progress, chunk, badRows, { bytes: bytes.length, badBytes: lines.length, flagged });
    },
    async checkpoint() {},
    async finish(foot) {
      await send(foot(notes, progress.output));
    },
    async close() {
      await bad?.close();
    },
  };
}
