/** One folder -> a bundle whose every byte is what its manifest says. Whether its model tells the truth is the engine's to try. */
import { createHash } from 'node:crypto';

import { checkGoldenConsistency, checkManifestConsistency, storedFiles } from './consistency.ts';
import { checkFolder } from './files.ts';
import { type Golden, GoldenSchema } from './golden.ts';
import { type HeldFiles, holdFiles } from './held-files.ts';
import { DEEPEST_JSON, nestsTooDeep } from './json-depth.ts';
import { type Manifest, ManifestSchema } from './manifest.ts';
import { checkManifestSum, readManifestFile } from './manifest-file.ts';
import { checkGraph } from './onnx/check-graph.ts';
import { BundleError } from './problem.ts';
import { bundleRoot } from './root.ts';
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

/** Bytes of a JSON file beside the manifest. Tokenizers of a quarter of a million entries have some thirty millions. */
const LARGEST_JSON = 128 * 1024 * 1024;

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
    const content = await readManifestFile(root);
    const sha256 = createHash('sha256').update(content).digest('hex');
    refuseIf(await checkManifestSum(root, sha256));
    const manifest = readManifest('manifest.json', content);
    refuseIf(checkManifestConsistency(manifest));
    const listed = storedFiles(manifest);
    // The folder first: nothing is opened that might be a link or a device.
    refuseIf(await checkFolder(root, listed));
    files = await holdFiles(root, [...listed, { file: 'manifest.json', bytes: content.length, sha256 }]);
    const golden = readGolden('golden.json', await files.read('golden.json', LARGEST_JSON));
    for (const { file } of manifest.files) {
      if (!file.endsWith('.json') || file === 'golden.json') continue;
      if (nestsTooDeep(await files.read(file, LARGEST_JSON)))
        throw new BundleError([`${file} nests deeper than ${DEEPEST_JSON} levels`]);
    }
    refuseIf(checkGraphs(manifest, files));
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

function checkGraphs(manifest: Manifest, files: HeldFiles): readonly string[] {
  return manifest.graphs.flatMap(({ file, externalData }) => {
    const { descriptor, size } = files.get(file);
    const externals = new Map(externalData.map((entry) => [entry.file, entry.bytes]));
    return checkGraph(descriptor, size, externals).map((problem) => `${file} ${problem}`);
  });
}

function refuseIf(problems: readonly string[]): void {
  if (problems.length > 0) throw new BundleError(problems);
}

function unreadable(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
  return `the folder cannot be read (${code}): check that it exists and that its files may be read`;
}
