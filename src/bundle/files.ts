/** The files of a bundle's folder: only plain ones, only the listed ones. */
import { readdir } from 'node:fs/promises';

import { MANIFEST_SUM_FILE } from './manifest-file.ts';

export interface StoredFile {
  readonly file: string;
  readonly sha256: string;
  /** Size in bytes. */
  readonly bytes: number;
}

/** @returns problems; empty when the folder holds `manifest.json`, the listed files, and nothing else but its checksum; all plain */
export async function checkFolder(folder: string, listed: readonly StoredFile[]): Promise<readonly string[]> {
  const present = await readdir(folder, { withFileTypes: true });
  const expected = new Set(['manifest.json', ...listed.map((entry) => entry.file)]);
  const problems: string[] = [];
  for (const entry of present) {
    if (!expected.has(entry.name) && entry.name !== MANIFEST_SUM_FILE)
      problems.push(`${entry.name} is in the folder but not in the manifest`);
    else if (!entry.isFile()) problems.push(`${entry.name} is not a plain file`);
  }
  const names = new Set(present.map((entry) => entry.name));
  for (const name of expected) if (!names.has(name)) problems.push(`${name} is missing`);
  return problems;
}
