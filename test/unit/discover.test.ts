/** What a models folder holds: which bundles are taken, which refused, and what its manifests state. */
import assert from 'node:assert/strict';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { discoverBundles } from '../../src/bundle/discover.ts';
import { loadBundle } from '../../src/bundle/load.ts';
import { statedGraphs } from '../../src/bundle/stated-graphs.ts';
import { copyTiny, modelsFolder, set, writeManifestSum } from '../fixtures/bundle-copy.ts';

describe('discoverBundles', () => {
  test('a bad bundle is refused and the others are found, in order of name', async (t) => {
    const models = await modelsFolder(t);
    await copyTiny(models, 'folder-1', set('name', 'zeta'));
    await copyTiny(models, 'folder-2', set('name', 'alpha'));
    await copyTiny(models, 'folder-3', set('labels', []));
    await mkdir(join(models, 'no-bundle'));
    await writeFile(join(models, 'README.md'), '');
    const { bundles, refused } = await discoverBundles(models);
    assert.deepEqual(
      bundles.map(({ manifest }) => manifest.name),
      ['alpha', 'zeta'],
    );
    assert.deepEqual(
      refused.map(({ folder }) => folder),
      ['folder-3'],
    );
  });

  test('versions of one name stand side by side, the newest first; the same version twice is refused', async (t) => {
    const models = await modelsFolder(t);
    await copyTiny(models, 'a-old', (m) => void Object.assign(m, { version: '9', createdAt: '2025-01-01T00:00:00Z' }));
    await copyTiny(models, 'new');
    await copyTiny(models, 'twin');
    const { bundles, refused } = await discoverBundles(models);
    assert.deepEqual(
      bundles.map(({ folder }) => folder),
      [join(models, 'new'), join(models, 'a-old')],
    );
    assert.equal(refused.length, 1);
    assert.match(refused[0]?.reason ?? '', /^tiny 1\.0\.0 is also in folder new: remove one/);
    assert.equal(refused[0]?.folder, 'twin');
  });

  test('hidden folders are somebody else’s work in progress', async (t) => {
    const models = await modelsFolder(t);
    await copyTiny(models, '.tiny.new');
    assert.deepEqual(await discoverBundles(models), { bundles: [], unchanged: [], refused: [] });
  });

  test('a models folder that is not there is an error', async () => {
    await assert.rejects(discoverBundles('/nowhere/at/all'), /cannot be read \(ENOENT\): set MODELS_DIR/);
  });

  test('of versions made at one time, the folder that comes first by name counts', async (t) => {
    const models = await modelsFolder(t);
    await copyTiny(models, 'b');
    await copyTiny(models, 'a');
    const { bundles, refused } = await discoverBundles(models, ['b', 'a']);
    assert.deepEqual(
      bundles.map(({ folder }) => folder),
      [join(models, 'a')],
    );
    assert.deepEqual(refused, [
      { folder: 'b', name: 'tiny', version: '1.0.0', reason: 'tiny 1.0.0 is also in folder a: remove one of them' },
    ]);
  });

  test('refused ones are in order of their folders, with the reason', async (t) => {
    const models = await modelsFolder(t);
    for (const name of ['c', 'a', 'b']) await copyTiny(models, name, set('labels.0', 'OFF'));
    const { refused } = await discoverBundles(models, ['c', 'a', 'b']);
    assert.deepEqual(
      refused.map(({ folder }) => folder),
      ['a', 'b', 'c'],
    );
    for (const { reason } of refused) assert.match(reason, /^manifest\.json\/labels: /);
  });

  test('only the folders that are asked for are read', async (t) => {
    const models = await modelsFolder(t);
    for (const name of ['a', 'b']) await copyTiny(models, name, set('name', name));
    const { bundles } = await discoverBundles(models, ['b']);
    assert.deepEqual(
      bundles.map(({ manifest }) => manifest.name),
      ['b'],
    );
  });

  describe('beside what serves', () => {
    test('nothing is read again that is unchanged', async (t) => {
      const models = await modelsFolder(t);
      const serving = await loadBundle(await copyTiny(models, 'tiny'));
      const found = await discoverBundles(models, undefined, [serving]);
      assert.deepEqual(found, { bundles: [], unchanged: [serving], refused: [] });
    });

    test('what took its folder is read, and may have its name and version', async (t) => {
      const models = await modelsFolder(t);
      const serving = await loadBundle(await copyTiny(models, 'tiny'));
      await rm(join(models, 'tiny'), { recursive: true });
      await copyTiny(models, 'tiny', set('description', 'Another.'));
      const { bundles, unchanged, refused } = await discoverBundles(models, undefined, [serving]);
      assert.deepEqual([unchanged, refused], [[], []]);
      assert.equal(bundles[0]?.manifest.description, 'Another.');
    });

    test('its name and version are taken, also by a newer bundle in another folder', async (t) => {
      const models = await modelsFolder(t);
      const serving = await loadBundle(await copyTiny(models, 'tiny'));
      await copyTiny(models, 'a-newer', set('createdAt', '2027-01-01T00:00:00Z'));
      const { bundles, unchanged, refused } = await discoverBundles(models, undefined, [serving]);
      assert.deepEqual([bundles, unchanged], [[], [serving]]);
      assert.match(refused[0]?.reason ?? '', /^tiny 1\.0\.0 is also in folder tiny: remove one/);
    });

    test('a folder more or less than its files is a change', async (t) => {
      const models = await modelsFolder(t);
      const serving = await loadBundle(await copyTiny(models, 'tiny'));
      await writeFile(join(models, 'tiny', 'more.txt'), '');
      const { unchanged, refused } = await discoverBundles(models, undefined, [serving]);
      assert.deepEqual(unchanged, []);
      assert.match(refused[0]?.reason ?? '', /^more\.txt is in the folder/);
    });
  });
});

describe('manifest.sha256', () => {
  test('is not needed, and holds what sha256sum prints', async (t) => {
    const folder = await copyTiny(await modelsFolder(t), 'tiny');
    await rm(join(folder, 'manifest.sha256'), { force: true });
    assert.equal((await loadBundle(folder)).manifest.name, 'tiny');
    await writeManifestSum(folder);
    assert.equal((await loadBundle(folder)).manifest.name, 'tiny');
  });

  const WRONG: Readonly<Record<string, (folder: string) => Promise<unknown>>> = {
    'of another manifest': async (folder) => {
      await writeManifestSum(folder);
      await writeFile(join(folder, 'manifest.json'), '{}');
    },
    'with another name in it': (folder) =>
      writeFile(join(folder, 'manifest.sha256'), `${'0'.repeat(64)}  other.json\n`),
    'that is empty': (folder) => writeFile(join(folder, 'manifest.sha256'), ''),
  };
  for (const [what, act] of Object.entries(WRONG))
    test(`${what} is the only thing that is said`, async (t) => {
      const folder = await copyTiny(await modelsFolder(t), 'tiny');
      await act(folder);
      await assert.rejects(loadBundle(folder), {
        problems: [
          'manifest.json is not the one of manifest.sha256: copy the bundle again; who changed it on purpose runs ' +
            '`sha256sum manifest.json > manifest.sha256` in its folder',
        ],
      });
    });

  test('is a plain file of some bytes', async (t) => {
    const models = await modelsFolder(t);
    const long = await copyTiny(models, 'long');
    await writeFile(join(long, 'manifest.sha256'), 'x'.repeat(1025));
    await assert.rejects(loadBundle(long), {
      problems: ['manifest.sha256 has 1025 bytes, at most 1024 are read of such a file'],
    });
    const linked = await copyTiny(models, 'linked');
    await symlink('manifest.json', join(linked, 'manifest.sha256'));
    await assert.rejects(loadBundle(linked), { problems: ['manifest.sha256 is not a plain file'] });
  });
});

describe('the graphs that a folder states', () => {
  test('are known before anything is verified', async (t) => {
    const models = await modelsFolder(t);
    const weights = (bytes: number) => ({ file: `w${bytes}.bin`, bytes, sha256: '1'.repeat(64) });
    await copyTiny(models, 'tiny', (manifest) => {
      const [graph] = manifest.graphs;
      manifest.graphs[0] = { ...graph, sha256: 'a'.repeat(64), bytes: 7, externalData: [weights(20), weights(300)] };
      manifest.graphs.push({ ...graph, sha256: 'b'.repeat(64), bytes: 0, executionProviders: ['cpu', 'cuda'] });
    });
    const stated = { name: 'tiny', version: '1.0.0' };
    assert.deepEqual(await statedGraphs(models), [
      { ...stated, sha256: 'a'.repeat(64), bytes: 327, executionProviders: ['cpu'] },
      { ...stated, sha256: 'b'.repeat(64), bytes: 0, executionProviders: ['cpu', 'cuda'] },
    ]);
  });

  const UNFIT: readonly [what: string, edit: (target: object) => void][] = [
    ['a name that is none', set('name', 1)],
    ['a version that is none', set('version', null)],
    ['no list of graphs', set('graphs', {})],
    ['a checksum that is none', set('graphs.0.sha256', 1)],
    ['half a byte', set('graphs.0.bytes', 0.5)],
    ['a negative size', set('graphs.0.bytes', -1)],
    ['a size in words', set('graphs.0.bytes', '1')],
    ['no list of external data', set('graphs.0.externalData', null)],
    ['a size of external data that is none', set('graphs.0.externalData', [{ bytes: -1 }])],
    ['no list of providers', set('graphs.0.executionProviders', 'cpu')],
    ['a provider that is none', set('graphs.0.executionProviders', [1])],
  ];
  for (const [what, edit] of UNFIT)
    test(`are none of a manifest with ${what}`, async (t) => {
      const models = await modelsFolder(t);
      await copyTiny(models, 'a', edit);
      await copyTiny(models, 'b');
      assert.equal((await statedGraphs(models)).length, 1);
    });

  test('of a folder that is not there are an error', async () => {
    await assert.rejects(statedGraphs('/nowhere/at/all'), /^Error: The models folder cannot be read \(ENOENT\)/);
  });
});
