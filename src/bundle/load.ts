/** One folder -> a bundle whose every byte is what its manifest says. Whether its model tells the truth is the engine's to try. */
import { createHash } from 'node:crypto';
import { lstat, readFile, realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';

import { checkGoldenConsistency, checkManifestConsistency, storedFiles } from './consistency.ts';
import { checkFolder } from './files.ts';
import { type Golden, GoldenSchema } from './golden.ts';
import { type HeldFiles, holdFiles } from './held-files.ts';
import { type Manifest, ManifestSchema } from './manifest.ts';
import { BundleError } from './problem.ts';
import { createReader } from './schema-check.ts';

/** What is kept of a bundle that serves. */
export interface HeldBundle {
  readonly folder: string;
  /** Where the folder's files really are. */
  readonly root: string;
  /** SHA-256 of `manifest.json`, hexadecimal. */
  readonly sha256: string;
  readonly manifest: Manifest;
  /** To be closed by whoever has the bundle. */
  readonly files: HeldFiles;
}

export interface Bundle extends HeldBundle {
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
  let files: HeldFiles | undefined;
  try {
    const root = await bundleRoot(folder);
    const { size } = await plainFile(join(root, 'manifest.json'));
    if (size > LARGEST_MANIFEST) throw new BundleError([`manifest.json has ${size} bytes, which is no manifest`]);
    const content = await readFile(join(root, 'manifest.json'));
    const sha256 = createHash('sha256').update(content).digest('hex');
    const manifest = readManifest('manifest.json', content);
    refuseIf(checkManifestConsistency(manifest));
    const listed = storedFiles(manifest);
    // The folder first: nothing is opened that might be a link or a device.
    refuseIf(await checkFolder(root, listed));
    files = await holdFiles(root, [...listed, { file: 'manifest.json', bytes: content.length, sha256 }]);
    const golden = readGolden('golden.json', await readFile(join(root, 'golden.json')));
    refuseIf(checkGoldenConsistency(golden, manifest));
    return { folder, root, sha256, manifest, golden, files };
  } catch (error) {
    await files?.close();
    throw error instanceof BundleError ? error : new BundleError([unreadable(error)]);
  }
}

/** Whether the folder still holds exactly what was read from it. */
export async function isUnchanged({ folder, root, manifest, files }: HeldBundle): Promise<boolean> {
  try {
    if ((await bundleRoot(folder)) !== root || !(await files.unchanged())) return false;
    return (await checkFolder(root, storedFiles(manifest))).length === 0;
  } catch {
    return false;
  }
}

/**
 * The folder that really holds the files, links on the way to it followed, so that all files come from one state of it.
 *
 * Kubernetes fills volumes of ConfigMaps, Secrets and projections through a link `..data`, which it turns to a new
 * folder in one step; the names beside it are links into it.
 *
 * @throws BundleError when `..data` leads out of the folder
 */
async function bundleRoot(folder: string): Promise<string> {
  const root = await realpath(folder);
  const data = await realpath(join(root, '..data')).catch(() => undefined);
  if (data === undefined) return root;
  if (!data.startsWith(root + sep)) throw new BundleError(['..data leads out of the folder']);
  return data;
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
