/** The files of a bundle on disk: only plain ones, only the listed ones, exactly as listed. */
import { createHash } from 'node:crypto';
import { lstat, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';

export interface StoredFile {
  readonly file: string;
  readonly sha256: string;
  /** Size in bytes. */
  readonly bytes: number;
}

/** @returns problems; empty when the folder holds `manifest.json` and the listed files, all of them plain, and nothing else */
export async function checkFolder(folder: string, listed: readonly StoredFile[]): Promise<readonly string[]> {
  const present = await readdir(folder, { withFileTypes: true });
  const expected = new Set(['manifest.json', ...listed.map((entry) => entry.file)]);
  const problems: string[] = [];
  for (const entry of present) {
    if (!expected.has(entry.name)) problems.push(`${entry.name} is in the folder but not in the manifest`);
    else if (!entry.isFile()) problems.push(`${entry.name} is not a plain file`);
  }
  const names = new Set(present.map((entry) => entry.name));
  for (const name of expected) if (!names.has(name)) problems.push(`${name} is missing`);
  return problems;
}

/** @returns problems; empty when every file has the size and the SHA-256 that the manifest states */
export async function checkContents(folder: string, listed: readonly StoredFile[]): Promise<readonly string[]> {
  const problems = await Promise.all(listed.map((entry) => checkContent(folder, entry)));
  return problems.flat();
}

async function checkContent(folder: string, entry: StoredFile): Promise<readonly string[]> {
  const path = join(folder, entry.file);
  const { size } = await lstat(path);
  if (size !== entry.bytes) return [`${entry.file} has ${size} bytes, expected ${entry.bytes}`];
  const sha256 = await hash(path);
  if (sha256 !== entry.sha256) return [`${entry.file} has SHA-256 ${sha256}, expected ${entry.sha256}`];
  return [];
}

/** Bytes read at a time. */
const CHUNK = 256 * 1024;

/** Reads into one buffer again and again: a stream's many buffers would stay in memory for good. */
async function hash(path: string): Promise<string> {
  const digest = createHash('sha256');
  const buffer = Buffer.allocUnsafeSlow(CHUNK);
  const file = await open(path);
  try {
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK);
      if (bytesRead === 0) return digest.digest('hex');
      digest.update(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}
