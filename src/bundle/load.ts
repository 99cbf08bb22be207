/** One folder -> a bundle whose every byte is what its manifest says. Whether its model tells the truth is the engine's to try. */
import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { checkGoldenConsistency, checkManifestConsistency, storedFiles } from './consistency.ts';
import { checkContents, checkFolder } from './files.ts';
import { type Golden, GoldenSchema } from './golden.ts';
import { type Manifest, ManifestSchema } from './manifest.ts';
import { BundleError } from './problem.ts';
import { createReader } from './schema-check.ts';

export interface Bundle {
  readonly folder: string;
  readonly manifest: Manifest;
  readonly golden: Golden;
}

/** Bytes. A manifest has tens of kilobytes; what is larger is something else, and is not read into memory. */
const LARGEST_MANIFEST = 16 * 1024 * 1024;

const readManifest = createReader(ManifestSchema);
const readGolden = createReader(GoldenSchema);

/**
 * Reads and checks a bundle: schema, folder, sizes, checksums, consistency.
 *
 * @param folder path of the bundle's folder
 * @throws BundleError with all problems of the first stage that finds any
 */
export async function loadBundle(folder: string): Promise<Bundle> {
  try {
    const { size } = await plainFile(join(folder, 'manifest.json'));
    if (size > LARGEST_MANIFEST) throw new BundleError([`manifest.json has ${size} bytes, which is no manifest`]);
    const manifest = readManifest('manifest.json', await readFile(join(folder, 'manifest.json')));
    refuseIf(checkManifestConsistency(manifest));
    const listed = storedFiles(manifest);
    // The folder first: nothing is opened that might be a link or a device.
    refuseIf(await checkFolder(folder, listed));
    refuseIf(await checkContents(folder, listed));
    const golden = readGolden('golden.json', await readFile(join(folder, 'golden.json')));
    refuseIf(checkGoldenConsistency(golden, manifest));
    return { folder, manifest, golden };
  } catch (error) {
    throw error instanceof BundleError ? error : new BundleError([unreadable(error)]);
  }
}

async function plainFile(path: string) {
  const found = await lstat(path);
  if (!found.isFile()) throw new BundleError(['manifest.json is not a plain file']);
  return found;
}

function refuseIf(problems: readonly string[]): void {
  if (problems.length > 0) throw new BundleError(problems);
}

function unreadable(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
  return `the folder cannot be read (${code}): check that it exists and that its files may be read`;
}
