/** Which folders of a models folder are meant to be bundles. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Names in `modelsDir` under which there is a `manifest.json`, in order. Hidden ones are somebody's work in progress.
 *
 * @throws Error when `modelsDir` cannot be read
 */
export async function bundleFolders(modelsDir: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(modelsDir);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    throw new Error(`The models folder cannot be read (${code}): set MODELS_DIR to a folder that holds bundles`);
  }
  const visible = names.filter((name) => !name.startsWith('.'));
  const found = await Promise.all(
    visible.map(async (name) => {
      const manifest = await stat(join(modelsDir, name, 'manifest.json')).catch(() => undefined);
      return manifest === undefined ? [] : [name];
    }),
  );
  return found.flat().sort();
}
