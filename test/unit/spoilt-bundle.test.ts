/** Whatever becomes of the bytes of a bundle's files, it is refused and what served before serves on. */
import assert from 'node:assert/strict';
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { copyTiny, modelsFolder, set, TINY, writeManifestSum } from '../fixtures/bundle-copy.ts';
import { FLIPS, LENGTHS } from '../fixtures/corruptions.ts';
import { startEngine } from '../fixtures/tiny-engine.ts';

const OTHER = fileURLToPath(new URL('../../models/olid-minilm', import.meta.url));

test('every file in every class of corruption is refused, and the old version answers', async (t) => {
  const models = await modelsFolder(t);
  await copyTiny(models, 'tiny');
  const { engine } = await startEngine(t, { modelsDir: models, workers: 1 });
  const question = { texts: ['you are kind'] };
  const before = await engine.classify(question);
  let refused = 0;
  for (const file of (await readdir(TINY)).sort())
    for (const corruption of [...FLIPS, ...LENGTHS]) {
      const what = `${file}: ${corruption.name}`;
      const folder = await copyTiny(models, '.next', set('version', '2.0.0'));
      await writeManifestSum(folder);
      const path = join(folder, file);
      const spoilt = corruption.apply(await readFile(path), await readFile(join(OTHER, file)));
      await (spoilt === undefined ? rm(path) : writeFile(path, spoilt));
      await rm(join(models, 'tiny'), { recursive: true });
      await rename(folder, join(models, 'tiny'));
      const { bundles } = await engine.reload();
      // Without a manifest a folder is no bundle: what it served stays because nothing else could answer.
      const gone = file === 'manifest.json' && spoilt === undefined;
      assert.deepEqual(
        bundles.map(({ outcome }) => outcome),
        [gone ? 'kept' : 'refused'],
        what,
      );
      const after = await engine.classify(question);
      assert.deepEqual([after.model.version, after.results], [before.model.version, before.results], what);
      refused += 1;
    }
  t.diagnostic(`${refused} spoilt bundles`);
  assert.ok(refused > 80);
});
