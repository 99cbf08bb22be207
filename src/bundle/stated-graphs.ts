/** Which graphs the manifests of a folder state, before anything is verified: enough to choose how many processes to start. */
import { join } from 'node:path';

import { type Static, Type } from 'typebox';

import { bundleFolders } from './discover.ts';
import { readManifestFile } from './manifest-file.ts';
import { bundleRoot } from './root.ts';
import { createReader } from './schema-check.ts';

const Stated = Type.Object({
  name: Type.String(),
  version: Type.String(),
  graphs: Type.Array(
    Type.Object({
      sha256: Type.String(),
      bytes: Type.Integer({ minimum: 0 }),
      executionProviders: Type.Array(Type.String()),
      externalData: Type.Array(Type.Object({ bytes: Type.Integer({ minimum: 0 }) })),
    }),
  ),
});

export interface StatedGraph {
  /** Of the bundle. */
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
  /** With its external data. */
  readonly bytes: number;
  readonly executionProviders: readonly string[];
}

const readStated = createReader(Stated);

/**
 * Folders whose manifest cannot be read are left out: they are refused with the reason when they are loaded.
 *
 * @throws Error when `modelsDir` cannot be read
 */
export async function statedGraphs(modelsDir: string): Promise<readonly StatedGraph[]> {
  const found = await Promise.all(
    (await bundleFolders(modelsDir)).map(async (folder): Promise<StatedGraph[]> => {
      try {
        const manifest = readStated('manifest.json', await readManifestFile(await bundleRoot(join(modelsDir, folder))));
        return manifest.graphs.map((graph) => statedGraph(manifest, graph));
      } catch {
        return [];
      }
    }),
  );
  return found.flat();
}

function statedGraph(
  { name, version }: Static<typeof Stated>,
  { sha256, bytes, executionProviders, externalData }: Static<typeof Stated>['graphs'][number],
): StatedGraph {
  const all = externalData.reduce((sum, file) => sum + file.bytes, bytes);
  return { name, version, sha256, bytes: all, executionProviders };
}
