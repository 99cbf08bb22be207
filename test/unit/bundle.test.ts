import assert from 'node:assert/strict';
import { fstatSync, readFileSync } from 'node:fs';
import { appendFile, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { discoverBundles } from '../../src/bundle/discover.ts';
import { type HeldBundle, isUnchanged, loadBundle } from '../../src/bundle/load.ts';
import { BundleError } from '../../src/bundle/problem.ts';
import { copyTiny, editGolden, modelsFolder, set, TINY } from '../fixtures/bundle-copy.ts';

async function problemsOf(folder: string): Promise<readonly string[]> {
  try {
    await loadBundle(folder);
  } catch (error) {
    assert.ok(error instanceof BundleError);
    return error.problems;
  }
  return [];
}

test('a sound bundle loads', async () => {
  const { manifest, golden } = await loadBundle(TINY);
  assert.equal(manifest.name, 'tiny');
  assert.ok(golden.items.length >= 32);
});

test('a bundle with a prompt loads, and keeps it for readers', async (t) => {
  const prompt = { template: 'Rude? {text}', words: { NOT: 'No', OFF: 'Yes' } };
  const folder = await copyTiny(await modelsFolder(t), 'asked', set('input.prompt', prompt));
  const { manifest } = await loadBundle(folder);
  assert.deepEqual(manifest.input.prompt, prompt);
});

type Edit = NonNullable<Parameters<typeof copyTiny>[2]>;

/** What is done to the manifest, and what must be said about it. */
const SPOILT: Record<string, readonly [Edit, RegExp]> = {
  'unknown schema version': [set('schemaVersion', 2), /^manifest\.json\/schemaVersion: /],
  'missing field': [(m) => void delete m.labels, /required properties labels/],
  'unknown field': [(m) => void Object.assign(m, { extra: 1 }), /additional properties|extra/],
  'path in a file name': [set('graphs.0.file', '../model.onnx'), /\/graphs\/0\/file: must match pattern/],
  'hidden file name': [set('files.0.file', '.env'), /\/files\/0\/file: must match pattern/],
  'unknown step': [set('input.normalization', ['rot13']), /\/input\/normalization\/0/],
  'one label': [set('labels', ['OFF']), /\/labels: /],
  'threshold above one': [set('thresholds.balanced.value', 1.5), /\/thresholds\/balanced\/value: /],
  'bad checksum form': [set('graphs.0.sha256', 'abc'), /\/graphs\/0\/sha256: /],
  'positive label unknown': [set('positiveLabels', ['BAD']), /positiveLabels names BAD/],
  'all labels positive': [set('positiveLabels', ['NOT', 'OFF']), /positiveLabels holds every label/],
  'attribute of no label': [set('attributes', { BAD: {} }), /attributes names BAD/],
  'thresholds out of order': [
    set('thresholds.high-precision', { value: 0.9, precision: 1, recall: 0.9 }),
    /thresholds: balanced is lower than high-precision and yet recalls less/,
  ],
  'no room for ids': [
    (m) => void Object.assign(m.input, { maxTokens: 8, prefixIds: new Array(8).fill(1) }),
    /maxTokens leaves no room/,
  ],
  'overlap of a whole window': [set('input.windowOverlap', 14), /windowOverlap is 14, expected less than the 14/],
  'prompt without a place for the post': [
    set('input.prompt', { template: 'Rude?', words: { NOT: 'No', OFF: 'Yes' } }),
    /\/input\/prompt\/template: must match pattern/,
  ],
  'prompt without an answer': [
    set('input.prompt', { template: '{text} Rude?', words: { OFF: 'Yes' } }),
    /input\.prompt has no word for NOT/,
  ],
  'prompt with an answer too many': [
    set('input.prompt', { template: '{text} Rude?', words: { NOT: 'No', OFF: 'Yes', BAD: 'Maybe' } }),
    /input\.prompt names BAD/,
  ],
  'prompt with one answer for two labels': [
    set('input.prompt', { template: '{text} Rude?', words: { NOT: 'Yes', OFF: 'Yes' } }),
    /input\.prompt answers two labels with Yes/,
  ],
  'column twice': [set('gates.1', { layer: 0, module: 'query' }), /gates lists 0\/query twice/],
  'column served and dropped': [set('dropped', [{ layer: 0, module: 'query' }]), /0\/query is in gates and in dropped/],
  'columns without a gate': [set('method.gate', null), /method\.gate is null/],
  'distribution of another label': [
    set('distribution.probabilities.BAD', { edges: [0, 1], counts: [1] }),
    /distribution\.probabilities names BAD/,
  ],
  'distribution lacks a column': [(m) => void m.distribution.gates.pop(), /distribution\.gates lacks 1\/value/],
  'distribution of another column': [
    set('distribution.gates.0.layer', 9),
    /distribution\.gates has 9\/query, which is not in gates/,
  ],
  'quantiles that fall': [
    (m) => void m.distribution.gates[0].quantiles.OFF.reverse(),
    /distribution\.gates 0\/query has quantiles that do not ascend/,
  ],
  'quantiles of another class': [
    set('distribution.gates.0.quantiles.BAD', new Array(101).fill(0)),
    /0\/query names class BAD/,
  ],
  'histogram without an edge': [(m) => void m.distribution.tokens.edges.pop(), /tokens/],
  'histogram edges that fall': [
    (m) => void m.distribution.tokens.edges.reverse(),
    /tokens has edges that do not ascend/,
  ],
  'file listed twice': [(m) => void m.files.push(m.files[0]), /README\.md is listed twice/],
  'manifest lists itself': [set('files.0.file', 'manifest.json'), /manifest\.json lists itself/],
  'golden vectors not listed': [(m) => void m.files.splice(1, 1), /files does not list golden\.json/],
  'file that is not there': [
    (m) => void m.files.push({ file: 'more.txt', sha256: '0'.repeat(64), bytes: 0 }),
    /^more\.txt is missing$/,
  ],
  'size of a graph': [(m) => void m.graphs[0].bytes++, /^model\.onnx has \d+ bytes, expected \d+$/],
  'checksum of a graph': [set('graphs.0.sha256', '0'.repeat(64)), /^model\.onnx has SHA-256 /],
  'checksum of a file': [set('files.2.sha256', '0'.repeat(64)), /^tokenizer\.json has SHA-256 /],
  'precision without tolerance': [set('graphs.0.precision', 'int8'), /no tolerance for precision int8/],
  'more labels than scores': [(m) => void m.labels.push('MAYBE'), /golden item 1 has 2 probabilities for 3 labels/],
  'other special tokens': [set('input.suffixIds', [1]), /a window without prefixIds or suffixIds/],
  'shorter windows than the vectors': [
    (m) => void Object.assign(m.input, { maxTokens: 12 }),
    /a window of 16 tokens, maxTokens is 12/,
  ],
};

describe('a spoilt manifest is refused with what is wrong', () => {
  for (const [name, [edit, expected]] of Object.entries(SPOILT))
    test(name, async (t) => {
      const problems = await problemsOf(await copyTiny(await modelsFolder(t), 'spoilt', edit));
      assert.ok(
        problems.some((problem) => expected.test(problem)),
        `expected ${expected}, got: ${problems.join('; ')}`,
      );
    });

  test('all problems of a stage at once', async (t) => {
    const folder = await copyTiny(await modelsFolder(t), 'spoilt', (m) => {
      m.graphs[0].bytes++;
      m.files[2].sha256 = '0'.repeat(64);
    });
    assert.equal((await problemsOf(folder)).length, 2);
  });
});

type GoldenEdit = Parameters<typeof editGolden>[1];

const SPOILT_GOLDEN: Record<string, readonly [GoldenEdit, RegExp]> = {
  'too few texts': [(g) => void g.items.splice(31), /golden\.json\/items: /],
  'unknown error code': [set('items.0.error', 'teapot'), /golden\.json\/items\/0/],
  'a tolerance that proves nothing': [set('tolerance.fp32.gates', 1), /which proves nothing/],
  'gates of another model': [(g) => void g.items[1].combined.gates.pop(), /golden item 1 has 3 gates for 4 columns/],
  'no text beyond one window': [
    (g) => {
      for (const [i, item] of g.items.entries()) if (item.windows?.length > 1) g.items[i] = g.items[1];
    },
    /no text longer than maxTokens/,
  ],
  'no refused text': [
    (g) => {
      for (const [i, item] of g.items.entries()) if (item.error !== undefined) g.items[i] = g.items[1];
    },
    /no text that is refused with invalid_unicode/,
  ],
};

describe('spoilt golden vectors are refused with what is wrong', () => {
  for (const [name, [edit, expected]] of Object.entries(SPOILT_GOLDEN))
    test(name, async (t) => {
      const folder = await copyTiny(await modelsFolder(t), 'spoilt');
      await editGolden(folder, edit);
      const problems = await problemsOf(folder);
      assert.ok(
        problems.some((problem) => expected.test(problem)),
        `expected ${expected}, got: ${problems.join('; ')}`,
      );
    });
});

describe('only the listed, plain files', () => {
  const spoil: Record<string, readonly [(folder: string) => Promise<unknown>, RegExp]> = {
    'a file more': [
      (folder) => writeFile(join(folder, 'more.txt'), ''),
      /^more\.txt is in the folder but not in the manifest$/,
    ],
    'a folder more': [(folder) => mkdir(join(folder, 'more')), /^more is in the folder/],
    'a file less': [(folder) => rm(join(folder, 'README.md')), /^README\.md is missing$/],
    'a link to a graph': [
      async (folder) => {
        await rename(join(folder, 'model.onnx'), join(folder, '..', 'elsewhere.onnx'));
        await symlink(join('..', 'elsewhere.onnx'), join(folder, 'model.onnx'));
      },
      /^model\.onnx is not a plain file$/,
    ],
    'a link to a manifest': [
      async (folder) => {
        await rename(join(folder, 'manifest.json'), join(folder, '..', 'elsewhere.json'));
        await symlink(join('..', 'elsewhere.json'), join(folder, 'manifest.json'));
      },
      /^manifest\.json is not a plain file$/,
    ],
    'a folder for a file': [
      async (folder) => {
        await rm(join(folder, 'README.md'));
        await mkdir(join(folder, 'README.md'));
      },
      /^README\.md is not a plain file$/,
    ],
    'a graph with another end': [(folder) => appendFile(join(folder, 'model.onnx'), 'x'), /^model\.onnx has \d+ bytes/],
    'a manifest that is not JSON': [
      (folder) => writeFile(join(folder, 'manifest.json'), '{"a": SECRET'),
      /^manifest\.json is not JSON$/,
    ],
    'a manifest that is not UTF-8': [
      (folder) => writeFile(join(folder, 'manifest.json'), Buffer.from([0x7b, 0xff])),
      /^manifest\.json is not UTF-8$/,
    ],
    'no folder': [(folder) => rm(folder, { recursive: true }), /cannot be read \(ENOENT\)/],
  };
  for (const [name, [act, expected]] of Object.entries(spoil))
    test(name, async (t) => {
      const folder = await copyTiny(await modelsFolder(t), 'spoilt');
      await act(folder);
      const problems = await problemsOf(folder);
      assert.equal(problems.length, 1, problems.join('; '));
      assert.match(problems[0] as string, expected);
    });

  test('a flipped byte of any file is noticed', async (t) => {
    const models = await modelsFolder(t);
    for (const file of ['model.onnx', 'tokenizer.json', 'tokenizer_config.json', 'golden.json', 'README.md']) {
      const folder = await copyTiny(models, file);
      const content = await readFile(join(folder, file));
      content[content.length >> 1] = (content[content.length >> 1] as number) ^ 1;
      await writeFile(join(folder, file), content);
      assert.match((await problemsOf(folder)).join('; '), new RegExp(`^${file} has SHA-256 [0-9a-f]{64}, expected`));
    }
  });
});

describe('mounted volumes', () => {
  test('a folder that is a link is read where it leads, and noticed when it leads elsewhere', async (t) => {
    const models = await modelsFolder(t);
    await copyTiny(models, '.v1');
    await copyTiny(models, '.v2');
    await symlink('.v1', join(models, 'tiny'));
    const bundle = await loadBundle(join(models, 'tiny'));
    assert.equal(await isUnchanged(bundle), true);
    await symlink('.v2', join(models, 'next'));
    await rename(join(models, 'next'), join(models, 'tiny'));
    assert.equal(await isUnchanged(bundle), false);
  });

  test('the layout of a ConfigMap works: links into a folder that ..data names', async (t) => {
    const models = await modelsFolder(t);
    const volume = join(models, 'tiny');
    await mkdir(volume);
    const names = await readdir(await copyTiny(volume, '..2025_01'));
    await symlink('..2025_01', join(volume, '..data'));
    for (const name of names) await symlink(`..data/${name}`, join(volume, name));
    const { bundles, refused } = await discoverBundles(models);
    assert.deepEqual(refused, []);
    assert.equal(bundles[0]?.manifest.name, 'tiny');
    await copyTiny(volume, '..2025_02', set('version', '2'));
    await symlink('..2025_02', join(volume, '..next'));
    await rename(join(volume, '..next'), join(volume, '..data'));
    assert.equal(await isUnchanged(bundles[0] as HeldBundle), false);
    assert.equal((await loadBundle(volume)).manifest.version, '2');
  });

  test('..data may not lead out of the folder', async (t) => {
    const models = await modelsFolder(t);
    await copyTiny(models, 'elsewhere');
    const volume = await copyTiny(models, 'tiny');
    await symlink('../elsewhere', join(volume, '..data'));
    assert.deepEqual(await problemsOf(volume), ['..data leads out of the folder']);
  });

  test('what was verified can be read after it was replaced and removed', async (t) => {
    const models = await modelsFolder(t);
    const folder = await copyTiny(models, 'tiny');
    const { files } = await loadBundle(folder);
    const { descriptor, size } = files.get('model.onnx');
    assert.equal(await files.unchanged(), true);
    await rm(folder, { recursive: true });
    assert.equal(await files.unchanged(), false);
    assert.equal(readFileSync(descriptor).length, size);
    await files.close();
    assert.throws(() => fstatSync(descriptor), { code: 'EBADF' });
  });
});
