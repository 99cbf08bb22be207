/**
 * The files of a bundle as they were verified, held open: what later takes their names, or removes them, does not change
 * what this process and its children read.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import type { StoredFile } from './files.ts';
import { BundleError } from './problem.ts';

// A FileHandle would be closed when it is collected; a number stays open for as long as the bundle serves.
const open = promisify(fs.open);
const fstat = promisify<number, fs.Stats>(fs.fstat);
const read = promisify(fs.read);
const close = promisify(fs.close);

export interface HeldFile {
  readonly path: string;
  /** Of this process. */
  readonly descriptor: number;
  /** Bytes. */
  readonly size: number;
  readonly modifiedMs: number;
}

export interface HeldFiles {
  /** @throws Error when the manifest does not list the file */
  get(file: string): HeldFile;
  /** Whether the paths still lead to these very files. */
  unchanged(): Promise<boolean>;
  /** Lets go of them. */
  close(): Promise<void>;
}

interface Held extends HeldFile {
  readonly inode: number;
}

/**
 * Opens and verifies files.
 *
 * @throws BundleError when one has not the size or the SHA-256 that is stated for it; then none is held
 */
export async function holdFiles(folder: string, listed: readonly StoredFile[]): Promise<HeldFiles> {
  const files = new Map<string, Held>();
  const letGo = async () => {
    const held = [...files.values()];
    files.clear();
    await Promise.all(held.map(({ descriptor }) => close(descriptor)));
  };
  const checked = await Promise.allSettled(
    listed.map(async (entry) => {
      const held = await hold(join(folder, entry.file));
      files.set(entry.file, held);
      return problemsOf(held, entry);
    }),
  );
  try {
    const problems = checked.flatMap((outcome) => {
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome.value;
    });
    if (problems.length > 0) throw new BundleError(problems);
  } catch (error) {
    await letGo();
    throw error;
  }

  return {
    get(file) {
      const held = files.get(file);
      if (held === undefined) throw new Error(`${file} is not held`);
      return held;
    },
    async unchanged() {
      const same = await Promise.all([...files.values()].map(isInPlace));
      return same.every(Boolean);
    },
    close: letGo,
  };
}

async function hold(path: string): Promise<Held> {
  // Not through a link that appeared after the folder was looked at.
  const descriptor = await open(path, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  const { size, mtimeMs, ino } = await fstat(descriptor);
  return { path, descriptor, size, modifiedMs: mtimeMs, inode: ino };
}

async function problemsOf(held: HeldFile, { file, bytes, sha256 }: StoredFile): Promise<readonly string[]> {
  if (held.size !== bytes) return [`${file} has ${held.size} bytes, expected ${bytes}`];
  const found = await hash(held.descriptor);
  return found === sha256 ? [] : [`${file} has SHA-256 ${found}, expected ${sha256}`];
}

async function isInPlace({ path, size, modifiedMs, inode }: Held): Promise<boolean> {
  const now = await lstat(path).catch(() => undefined);
  return now?.ino === inode && now.size === size && now.mtimeMs === modifiedMs;
}

/** Bytes read at a time. */
const CHUNK = 256 * 1024;

/** Reads into one buffer again and again: a stream's many buffers would stay in memory for good. */
async function hash(descriptor: number): Promise<string> {
  const digest = createHash('sha256');
  const buffer = Buffer.allocUnsafeSlow(CHUNK);
  for (let position = 0; ; ) {
    const { bytesRead } = await read(descriptor, buffer, 0, CHUNK, position);
    if (bytesRead === 0) return digest.digest('hex');
    digest.update(buffer.subarray(0, bytesRead));
    position += bytesRead;
  }
}
