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
import { close, openPlain, readWhole } from './plain-file.ts';
import { BundleError } from './problem.ts';

const read = promisify(fs.read);

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
  /** The content, from the file that was verified. @param largest bytes @throws BundleError for a larger one */
  read(file: string, largest: number): Promise<Buffer>;
  /** Whether the paths still lead to these very files. */
  unchanged(): Promise<boolean>;
  /** Lets go of them. */
  close(): Promise<void>;
}

interface Held extends HeldFile {
  readonly stats: fs.Stats;
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
      const held = await hold(folder, entry.file);
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

  function get(file: string): Held {
    const held = files.get(file);
    if (held === undefined) throw new Error(`${file} is not held`);
    return held;
  }

  return {
    get,
    read: (file, largest) => readWhole(get(file), file, largest),
    async unchanged() {
      const same = await Promise.all([...files.values()].map(isInPlace));
      return same.every(Boolean);
    },
    close: letGo,
  };
}

async function hold(folder: string, file: string): Promise<Held> {
  const path = join(folder, file);
  const { descriptor, stats } = await openPlain(path, file);
  return { path, descriptor, size: stats.size, modifiedMs: stats.mtimeMs, stats };
}

async function problemsOf(held: HeldFile, { file, bytes, sha256 }: StoredFile): Promise<readonly string[]> {
  if (held.size !== bytes) return [`${file} has ${held.size} bytes, expected ${bytes}`];
  const found = await hash(held.descriptor);
  return found === sha256 ? [] : [`${file} has SHA-256 ${found}, expected ${sha256}`];
}

async function isInPlace({ path, size, modifiedMs, stats }: Held): Promise<boolean> {
  const now = await lstat(path).catch(() => undefined);
  return now?.ino === stats.ino && now.size === size && now.mtimeMs === modifiedMs;
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
