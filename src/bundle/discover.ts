/** The bundles of a models folder: which are sound, which are refused, and which of two with one name and version counts. */
import { basename, join } from 'node:path';

import { bundleFolders } from './folders.ts';
import { type Bundle, type HeldBundle, isUnchanged, loadBundle } from './load.ts';
import { BundleError } from './problem.ts';

export interface RefusedFolder {
  readonly folder: string;
  /** Absent when the manifest could not be read. */
  readonly name?: string;
  readonly version?: string;
  readonly reason: string;
}

export interface Discovery {
  /** Sound bundles that were read now, each name and version once, by name and then newest first. */
  readonly bundles: readonly Bundle[];
  /** Of those that serve: what their folders still hold. */
  readonly unchanged: readonly HeldBundle[];
  readonly refused: readonly RefusedFolder[];
}

/**
 * Reads bundles. One bad bundle never keeps the others from being found.
 *
 * @param folders names as `bundleFolders` has them; all of them if absent
 * @param serving what serves now: it is not read again where its folder still holds it, and has the first claim on its
 *   name and version
 * @throws Error when `modelsDir` itself cannot be read
 */
export async function discoverBundles(
  modelsDir: string,
  folders?: readonly string[],
  serving: readonly HeldBundle[] = [],
): Promise<Discovery> {
  const names = folders ?? (await bundleFolders(modelsDir));
  const refused: RefusedFolder[] = [];
  const sound: Bundle[] = [];
  const unchanged: HeldBundle[] = [];
  await Promise.all(
    names.map(async (name) => {
      const folder = join(modelsDir, name);
      try {
        for (const bundle of serving)
          if (bundle.folder === folder && (await isUnchanged(bundle))) return void unchanged.push(bundle);
        sound.push(await loadBundle(folder));
      } catch (error) {
        refused.push({ folder: name, reason: reasonOf(error) });
      }
    }),
  );

  const claims = new Map(serving.map((bundle) => [identity(bundle), bundle.folder]));
  // A bundle that was read from a folder takes the place of what that folder served.
  for (const bundle of sound) if (claims.get(identity(bundle)) === bundle.folder) claims.delete(identity(bundle));
  sound.sort((a, b) => order(b.manifest.createdAt, a.manifest.createdAt) || order(a.folder, b.folder));
  const bundles: Bundle[] = [];
  for (const bundle of sound) {
    const { name, version } = bundle.manifest;
    const other = claims.get(identity(bundle));
    if (other === undefined) {
      claims.set(identity(bundle), bundle.folder);
      bundles.push(bundle);
      continue;
    }
    await bundle.files.close();
    const reason = `${name} ${version} is also in folder ${basename(other)}: remove one of them`;
    refused.push({ folder: basename(bundle.folder), name, version, reason });
  }
  bundles.sort((a, b) => order(a.manifest.name, b.manifest.name));
  refused.sort((a, b) => order(a.folder, b.folder));
  return { bundles, unchanged, refused };
}

const identity = ({ manifest }: HeldBundle) => `${manifest.name}@${manifest.version}`;

const order = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

function reasonOf(error: unknown): string {
  return error instanceof BundleError ? error.message : 'the bundle could not be loaded';
}
