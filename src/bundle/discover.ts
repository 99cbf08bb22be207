/** The bundles of a models folder: which are sound, which are refused, and which of two with one name counts. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { type Bundle, loadBundle } from './load.ts';
import { BundleError } from './problem.ts';

export interface Discovery {
  /** Sound bundles with distinct names, in order of name. */
  readonly bundles: readonly Bundle[];
  readonly refused: readonly { readonly folder: string; readonly reason: string }[];
}

/**
 * Loads every folder in `modelsDir` that holds a `manifest.json`. One bad bundle never keeps the others from being found.
 *
 * @throws Error when `modelsDir` itself cannot be read
 */
export async function discoverBundles(modelsDir: string): Promise<Discovery> {
  const folders = await bundleFolders(modelsDir);
  const refused: { folder: string; reason: string }[] = [];
  const sound: Bundle[] = [];
  const outcomes = await Promise.allSettled(folders.map((name) => loadBundle(join(modelsDir, name))));
  outcomes.forEach((outcome, i) => {
    const folder = folders[i] as string;
    if (outcome.status === 'fulfilled') sound.push(outcome.value);
    else refused.push({ folder, reason: reasonOf(outcome.reason) });
  });

  // The newest of one name serves; a tie goes to the first folder.
  sound.sort((a, b) => order(b.manifest.createdAt, a.manifest.createdAt) || order(a.folder, b.folder));
  const bundles = new Map<string, Bundle>();
  for (const bundle of sound) {
    const { name, version } = bundle.manifest;
    const serving = bundles.get(name);
    if (serving === undefined) bundles.set(name, bundle);
    else refused.push({ folder: lastName(bundle.folder), reason: supersededBy(serving, name, version) });
  }
  return { bundles: [...bundles.values()].sort((a, b) => order(a.manifest.name, b.manifest.name)), refused };
}

async function bundleFolders(modelsDir: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(modelsDir);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    throw new Error(`The models folder cannot be read (${code}): set MODELS_DIR to a folder that holds bundles`);
  }
  const found = await Promise.all(
    names.map(async (name) => {
      const manifest = await stat(join(modelsDir, name, 'manifest.json')).catch(() => undefined);
      return manifest === undefined ? [] : [name];
    }),
  );
  return found.flat().sort();
}

function supersededBy(serving: Bundle, name: string, version: string): string {
  const other = lastName(serving.folder);
  return serving.manifest.version === version
    ? `${name} ${version} is also in folder ${other}: remove one of them`
    : `${name} ${serving.manifest.version} in folder ${other} is newer than ${version}`;
}

const lastName = (folder: string) => folder.slice(Math.max(folder.lastIndexOf('/'), folder.lastIndexOf('\\')) + 1);

const order = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

function reasonOf(error: unknown): string {
  return error instanceof BundleError ? error.message : 'the bundle could not be loaded';
}
