/** Which graphs the manifests of a folder state, before anything is verified: enough to choose how many processes to start. */
import { join } from 'node:path';

import { bundleFolders } from './folders.ts';
import { parseJson } from './json-text.ts';
import { readManifestFile } from './manifest-file.ts';
import { bundleRoot } from './root.ts';

export interface StatedGraph {
  /** Of the bundle. */
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
  /** With its external data. */
  readonly bytes: number;
  readonly executionProviders: readonly string[];
}

/**
 * Folders whose manifest cannot be read are left out: they are refused with the reason when they are loaded.
 *
 * @throws Error when `modelsDir` cannot be read
 */
export async function statedGraphs(modelsDir: string): Promise<readonly StatedGraph[]> {
  const found = await Promise.all(
    (await bundleFolders(modelsDir)).map(async (folder): Promise<StatedGraph[]> => {
      try {
        const bytes = await readManifestFile(await bundleRoot(join(modelsDir, folder)));
        return graphsOf(parseJson('manifest.json', bytes));
      } catch {
        return [];
      }
    }),
  );
  return found.flat();
}

/**
 * By hand instead of by the manifest's schema: processes wait for this at the start, and compiling schemas takes longer
 * than all else that comes before them.
 *
 * @throws TypeError when it is no manifest
 */
function graphsOf(manifest: unknown): StatedGraph[] {
  const { name, version, graphs } = manifest as Record<string, unknown>;
  return list(graphs).map((graph) => {
    const { sha256, bytes, executionProviders, externalData } = graph as Record<string, unknown>;
    const sizes = [bytes, ...list(externalData).map((file) => (file as Record<string, unknown>).bytes)];
    return {
      name: text(name),
      version: text(version),
      sha256: text(sha256),
      bytes: sizes.reduce<number>((sum, size) => sum + count(size), 0),
      executionProviders: list(executionProviders).map(text),
    };
  });
}

function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new TypeError('expected a list');
  return value;
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('expected a string');
  return value;
}

function count(value: unknown): number {
  if (!Number.isInteger(value) || (value as number) < 0) throw new TypeError('expected a number of bytes');
  return value as number;
}
