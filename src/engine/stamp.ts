/** Finds a file again as it was verified, or notices that another is in its place. */
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';

import type { HeldFile } from '../bundle/held-files.ts';
import type { FileStamp } from './protocol.ts';
import { Refusal } from './refusal.ts';

/** What a child needs to open a file that this process holds. */
export function stampHeld({ path, descriptor, size, modifiedMs }: HeldFile): FileStamp {
  // Linux shows a process's open files to its children; elsewhere, and where that is forbidden, the path must do.
  return { path, held: `/proc/${process.pid}/fd/${descriptor}`, size, modifiedMs };
}

/** The same for a file whose library looks for others beside it: only its path will do. */
export function stampPath(file: HeldFile): FileStamp {
  return { ...stampHeld(file), held: undefined };
}

/**
 * @returns a path under which the file can be opened now
 * @throws Refusal when neither path leads to the file as it was
 */
export async function locate({ path, held, size, modifiedMs }: FileStamp): Promise<string> {
  for (const candidate of held === undefined ? [path] : [held, path]) {
    const now = await stat(candidate).catch(() => undefined);
    if (now?.size === size && now.mtimeMs === modifiedMs) return candidate;
  }
  throw new Refusal(`${basename(path)} changed on disk after it was checked: reload the models`);
}
