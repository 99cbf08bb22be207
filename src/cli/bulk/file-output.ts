/**
 * An output file that survives a kill at any moment.
 *
 * Rows go to `<output>.partial`, the journal of what is safe to `<output>.journal`. At a checkpoint the rows are forced
 * to disk, then a line of the journal that says how many bytes count. A run that goes on cuts both files back to that
 * length and reads the input on from there, so no row is lost and none comes twice. The last step is a rename.
 */
import { type FileHandle, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

import { badLines } from './bad-rows.ts';
import { explain, refuse } from './failure.ts';
import {
  checkpointLine,
  differences,
  firstLine,
  type Job,
  type Journal,
  NOTHING_DONE,
  readJournal,
} from './journal.ts';
import { lock } from './lock.ts';
import { advance, type Output } from './output.ts';
import type { Note } from './table.ts';

export interface FileOutputOptions {
  readonly path: string;
  readonly badPath: string;
  /** Replaces an output that exists, and an unfinished run that cannot go on. */
  readonly overwrite: boolean;
  readonly job: Job;
  /** What the output begins with. */
  readonly head: Uint8Array;
}

/** @throws BulkError when there is an output that this run must not touch */
export async function openFileOutput({ path, badPath, overwrite, job, head }: FileOutputOptions): Promise<Output> {
  const partialPath = `${path}.partial`;
  const journalPath = `${path}.journal`;
  const release = await lock(`${path}.lock`);
  const handles: FileHandle[] = [];
  try {
    return await begin();
  } catch (error) {
    await close();
    throw error;
  }

  async function close(): Promise<void> {
    await Promise.all(handles.splice(0).map((handle) => handle.close()));
    await release();
  }

  /** Opens a file at a length that it must have reached. */
  async function openAt(file: string, length: number): Promise<FileHandle> {
    const handle = await open(file, 'a');
    handles.push(handle);
    const { size } = await handle.stat();
    if (size < length) refuse(`${file} is shorter than it was. Start anew with --overwrite.`);
    await handle.truncate(length);
    return handle;
  }

  async function begin(): Promise<Output> {
    const earlier = await findEarlier(journalPath, job, overwrite);
    const finished = earlier?.finished ?? false;
    const renamed = finished && !(await exists(partialPath));
    if (!overwrite) {
      if (!renamed) await refuseExisting(path);
      if (earlier === undefined) for (const file of [partialPath, badPath]) await refuseExisting(file);
    }
    let progress = earlier?.progress ?? NOTHING_DONE;
    const notes: Note[] = [...(earlier?.notes ?? [])];
    let newNotes: Note[] = [];
    if (renamed) {
      // Killed between the last two steps.
      await cleanUp();
      return { ...nothingLeft(progress), close };
    }

    const journal = await openAt(journalPath, earlier?.length ?? 0);
    if (earlier === undefined) await journal.appendFile(firstLine(job));
    let journalLength = (await journal.stat()).size;
    const partial = await openAt(partialPath, progress.output);
    const bad = await openAt(badPath, progress.badBytes);
    if (progress.output === 0) {
      await partial.appendFile(head);
      progress = { ...progress, output: head.length };
    }
    await journal.datasync();
    await syncFolder(path);

    async function checkpoint(finished?: true): Promise<void> {
      await Promise.all([partial.datasync(), bad.datasync()]);
      const line = checkpointLine({ ...progress, notes: newNotes, ...(finished ? { finished } : {}) });
      // A full disk may have taken a part of an earlier line.
      await journal.truncate(journalLength);
      await journal.appendFile(line);
      await journal.datasync();
      journalLength += Buffer.byteLength(line);
      newNotes = [];
    }

    return {
      get progress() {
        return progress;
      },
      async write(chunk, cells, badRows, flagged) {
        const { bytes, note } = chunk.encode(cells, progress.output);
        const lines = badLines(badRows);
        await partial.appendFile(bytes);
        await bad.appendFile(lines);
        if (note !== undefined) {
          notes.push(note);
          newNotes.push(note);
        }
        progress = advance(progress, chunk, badRows, { bytes: bytes.length, badBytes: lines.length, flagged });
      },
      checkpoint,
      async finish(foot) {
        if (!finished) {
          const bytes = foot(notes, progress.output);
          await partial.appendFile(bytes);
          progress = { ...progress, output: progress.output + bytes.length };
          await checkpoint(true);
        }
        await rename(partialPath, path);
        await syncFolder(path);
        await cleanUp();
      },
      close,
    };

    async function cleanUp(): Promise<void> {
      await rm(journalPath, { force: true });
      if (progress.badBytes === 0) await rm(badPath, { force: true });
    }
  }
}

/** @returns a run that goes on; undefined to begin */
async function findEarlier(journalPath: string, job: Job, overwrite: boolean): Promise<Journal | undefined> {
  const text = await readFile(journalPath, 'utf8').catch(() => '');
  let journal: Journal | undefined;
  try {
    journal = readJournal(text);
  } catch (error) {
    return overwrite
      ? undefined
      : refuse(`${journalPath} cannot be read: ${explain(error)}. Start anew with --overwrite.`);
  }
  const changed = journal === undefined ? [] : differences(journal.job, job);
  if (changed.length === 0) return journal;
  if (overwrite) return undefined;
  return refuse(
    `An unfinished run cannot go on, because this has changed since it began: ${changed.join(', ')}. ` +
      'Run the command as it was then, or start anew with --overwrite.',
  );
}

async function refuseExisting(path: string): Promise<void> {
  if (await exists(path)) refuse(`${path} exists already. Name another file, or replace it with --overwrite.`);
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

/** So that a new name survives a loss of power. */
async function syncFolder(path: string): Promise<void> {
  const handle = await open(dirname(path) || '.');
  await handle.sync().finally(() => handle.close());
}

function nothingLeft(progress: Journal['progress']): Omit<Output, 'close'> {
  return { progress, write: async () => {}, checkpoint: async () => {}, finish: async () => {} };
}
