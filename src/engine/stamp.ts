/** Notices a file that was replaced after its checksum was verified. */
import { stat } from 'node:fs/promises';

import type { FileStamp } from './protocol.ts';
import { Refusal } from './refusal.ts';

/** Takes the stamp of a file. */
export async function stampFile(path: string): Promise<FileStamp> {
  const { size, mtimeMs } = await stat(path);
  return { path, size, modifiedMs: mtimeMs };
}

/** @throws Refusal when the file is gone or is not the stamped one */
export async function expectUnchanged(stamp: FileStamp): Promise<void> {
  const now = await stampFile(stamp.path).catch(() => undefined);
  if (now === undefined || now.size !== stamp.size || now.modifiedMs !== stamp.modifiedMs)
    throw new Refusal(`${lastName(stamp.path)} changed on disk after it was checked: restart the service`);
}

const lastName = (path: string) => path.slice(Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1);
