/** A bundle is untrusted input: what is refused before a library reads it, each with its reason. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFile, cp, link, readFile, rename, rm, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { isUnchanged, loadBundle } from '../../src/bundle/load.ts';
import type { Manifest } from '../../src/bundle/manifest.ts';
import { BundleError } from '../../src/bundle/problem.ts';
import { statedGraphs } from '../../src/bundle/stated-graphs.ts';
import { copyTiny, modelsFolder, restate, set, TINY } from '../fixtures/bundle-copy.ts';
import { bytes, number, varint } from '../fixtures/protobuf.ts';

async function problemsOf(folder: string): Promise<readonly string[]> {
  try {
    const { files } = await loadBundle(folder);
    await files.close();
    return [];
  } catch (error) {
    assert.ok(error instanceof BundleError);
    return error.problems;
  }
}

/** A bundle whose graph has more in it than it should; its size and checksum are stated as they are. */
async function withGraph(t: TestContext, graph: Buffer, external?: Buffer): Promise<readonly string[]> {
  const folder = await copyTiny(await modelsFolder(t), 'hostile', (manifest) => {
    if (external === undefined) return;
    manifest.graphs[0].externalData = [{ file: 'weights.bin', bytes: external.length, sha256: '0'.repeat(64) }];
  });
  await writeFile(join(folder, 'model.onnx'), graph);
  await restate(folder, 'model.onnx');
  if (external !== undefined) {
    await writeFile(join(folder, 'weights.bin'), external);
    const sha256 = createHash('sha256').update(external).digest('hex');
    const path = join(folder, 'manifest.json');
    const manifest = JSON.parse(await readFile(path, 'utf8')) as Manifest;
    Object.assign(manifest.graphs[0]?.externalData[0] as object, { sha256 });
    await writeFile(path, JSON.stringify(manifest));
  }
  return problemsOf(folder);
}

const tiny = await readFile(join(TINY, 'model.onnx'));
/** The tiny graph with one message more in it. */
const graph = (...parts: readonly Buffer[]) => Buffer.concat([tiny, bytes(7, ...parts)]);
const node = (...parts: readonly Buffer[]) => bytes(1, ...parts);
const float32 = number(2, 1);
/** A tensor of the graph. */
const tensor = (dims: readonly (bigint | number)[], ...parts: readonly Buffer[]) =>
  bytes(5, ...dims.map((dim) => number(1, dim)), bytes(8, 'w'), ...parts);
const elsewhere = (entries: Readonly<Record<string, string>>) =>
  Buffer.concat([
    number(14, 1),
    ...Object.entries(entries).map(([key, value]) => bytes(13, bytes(1, key), bytes(2, value))),
  ]);
/** A node with a branch that has a node with a branch … */
const nested = (depth: number): Buffer =>
  node(bytes(4, 'If'), ...(depth === 0 ? [] : [bytes(5, number(20, 5), bytes(6, nested(depth - 1)))]));

const REFUSED: Record<string, readonly [graph: Buffer, reason: RegExp]> = {
  'values outside of the folder': [
    graph(tensor([4], float32, elsewhere({ location: '../../etc/passwd', length: '16' }))),
    /^model\.onnx tensor "w" has its values in "\.\.\/\.\.\/etc\/passwd", which externalData of the graph does not list$/,
  ],
  'values at an absolute path': [
    graph(tensor([4], float32, elsewhere({ location: '/dev/zero', length: '16' }))),
    /in "\/dev\/zero", which externalData/,
  ],
  'values in a file of the bundle that is none of the graph': [
    graph(tensor([4], float32, elsewhere({ location: 'tokenizer.json' }))),
    /in "tokenizer\.json", which externalData/,
  ],
  'values nowhere': [graph(tensor([4], float32, elsewhere({}))), /in "", which externalData/],
  'values in a branch outside of the folder': [
    graph(node(bytes(4, 'If'), bytes(5, bytes(6, tensor([1], float32, elsewhere({ location: '../x' })))))),
    /in "\.\.\/x", which externalData/,
  ],
  'a constant outside of the folder': [
    // The tensor of an attribute is field 5 of it, as it is of a graph.
    graph(node(bytes(4, 'Constant'), bytes(5, tensor([1], float32, elsewhere({ location: '../x' }))))),
    /in "\.\.\/x", which externalData/,
  ],
  'values both here and elsewhere': [
    graph(tensor([1], float32, bytes(9, 'abcd'), elsewhere({ location: 'weights.bin' }))),
    /has values both here and elsewhere/,
  ],
  'dimensions that need more than there is': [
    graph(tensor([1n << 40n, 1n << 40n], float32, bytes(9, 'abcd'))),
    /has 4 bytes of values, its dimensions need 4835703278458516698824704/,
  ],
  'dimensions without values': [graph(tensor([1_000_000], float32)), /has fewer values than its dimensions/],
  'a negative dimension': [graph(tensor([-1], float32)), /has a negative dimension/],
  'too many dimensions': [graph(tensor(new Array(17).fill(1), float32)), /has 17 dimensions, at most 16/],
  'packed dimensions without end': [
    graph(bytes(5, bytes(1, ...new Array(17).fill(varint(1))))),
    /is no ONNX graph: it has a list of more than 16 numbers/,
  ],
  'an unknown data type': [graph(tensor([1], number(2, 99), bytes(9, 'a'))), /has the unknown data type 99/],
  'an operator of a library of its own': [
    graph(node(bytes(4, 'Run'), bytes(7, 'evil.ops'))),
    /has operators of the domain "evil\.ops", which need a library of their own/,
  ],
  'a domain that a terminal would obey': [
    graph(node(bytes(4, 'Run'), bytes(7, '\u001b[2Jx'))),
    /has operators of the domain "\\u001b\[2Jx"/,
  ],
  'an operator that loads a file': [
    graph(node(bytes(4, 'EPContext'), bytes(7, 'com.microsoft'))),
    /has the operator EPContext, which loads or calls/,
  ],
  'a foreign operator in a branch': [
    graph(node(bytes(4, 'If'), bytes(5, bytes(6, node(bytes(4, 'Run'), bytes(7, 'evil')))))),
    /domain "evil"/,
  ],
  'a foreign operator in a function': [
    Buffer.concat([tiny, bytes(25, bytes(10, 'own'), bytes(7, bytes(4, 'Run'), bytes(7, 'evil')))]),
    /domain "evil"/,
  ],
  'sparse tensors': [graph(bytes(15, '')), /has sparse tensors/],
  'training information': [Buffer.concat([tiny, bytes(20, '')]), /has training information/],
  'branches without end': [graph(nested(20)), /has graphs within graphs, more than 8 deep/],
  'a name without end': [graph(node(bytes(4, 'x'.repeat(2_000)))), /has a name of 2000 bytes/],
  'a field longer than the file': [
    Buffer.concat([tiny, varint((7 << 3) | 2), varint(1n << 40n)]),
    /is no ONNX graph: it has a field that is longer/,
  ],
  'a length of 2^64': [
    Buffer.concat([tiny, varint((7 << 3) | 2), varint(-1)]),
    /is no ONNX graph: it has a field that is longer/,
  ],
  'a group': [Buffer.concat([tiny, varint((7 << 3) | 3)]), /is no ONNX graph: it has a field of the unknown kind 3/],
  'a number without end': [
    Buffer.concat([tiny, Buffer.alloc(11, 0xff)]),
    /is no ONNX graph: it has a number of more than ten bytes/,
  ],
  'a graph of another format': [Buffer.from('\u0018\0\0\0ORTM and more'), /is no ONNX graph/],
  'a ZIP archive': [Buffer.from('PK\u0003\u0004 and more of it'), /is no ONNX graph/],
  'no graph': [Buffer.alloc(0), /is no ONNX graph: it has no nodes/],
};

describe('a graph is refused before onnxruntime sees it, with', () => {
  for (const [name, [content, reason]] of Object.entries(REFUSED))
    test(name, async (t) => {
      const problems = await withGraph(t, content);
      assert.ok(
        problems.some((problem) => reason.test(problem)),
        `expected ${reason}, got: ${problems.join('; ')}`,
      );
    });

  test('more fields than any graph has, in bounded time', async (t) => {
    const many = Buffer.concat([tiny, Buffer.alloc(4_200_000, number(2, 1))]);
    const begun = performance.now();
    assert.match((await withGraph(t, many)).join(), /has more than 2000000 fields/);
    assert.ok(performance.now() - begun < 20_000);
  });
});

test('a graph may have its values in a file that is listed for it, within its bounds', async (t) => {
  const external = Buffer.alloc(32);
  const at = (entries: Readonly<Record<string, string>>) =>
    withGraph(t, graph(tensor([4], float32, elsewhere({ location: 'weights.bin', ...entries }))), external);
  assert.deepEqual(await at({ offset: '16', length: '16' }), []);
  assert.match((await at({ offset: '17', length: '16' })).join(), /beyond the end of weights\.bin, which has 32 bytes/);
  assert.match((await at({ offset: '0', length: '32' })).join(), /has 32 bytes of values, its dimensions need 16/);
  assert.match((await at({ offset: '-1' })).join(), /at a place that is no number/);
});

test('a graph may have functions of its own', async (t) => {
  const own = bytes(25, bytes(1, 'Twice'), bytes(10, 'own'), bytes(7, bytes(4, 'Add')));
  assert.deepEqual(await withGraph(t, Buffer.concat([graph(node(bytes(4, 'Twice'), bytes(7, 'own'))), own])), []);
});

describe('files of a bundle that are none', () => {
  const spoil: Record<string, (path: string) => Promise<unknown>> = {
    'a named pipe': async (path) => {
      await rm(path);
      execFileSync('mkfifo', [path]);
    },
    'a link to a device': async (path) => {
      await rm(path);
      await symlink('/dev/zero', path);
    },
    'a link out of the folder': async (path) => {
      await rename(path, `${path}.real`);
      await rename(`${path}.real`, join(path, '..', '..', 'elsewhere'));
      await symlink('../elsewhere', path);
    },
  };
  for (const [name, act] of Object.entries(spoil))
    for (const file of ['manifest.json', 'model.onnx', 'golden.json'])
      test(`${name} for ${file}`, { timeout: 20_000 }, async (t) => {
        const models = await modelsFolder(t);
        const folder = await copyTiny(models, 'hostile');
        await act(join(folder, file));
        assert.deepEqual(await problemsOf(folder), [`${file} is not a plain file`]);
        // Whoever only wants to know what there is does not wait for a pipe or read a device either.
        if (file === 'manifest.json') assert.deepEqual(await statedGraphs(models), []);
      });

  test('names that are paths, and a folder for a file', async (t) => {
    const models = await modelsFolder(t);
    for (const name of ['../x', '/etc/passwd', 'a/b', '..', '.hidden', 'a\\b', 'a\u0000b', '']) {
      const folder = await copyTiny(models, `n${Buffer.from(name).toString('hex')}`, set('graphs.0.file', name));
      assert.match((await problemsOf(folder)).join(), /\/graphs\/0\/file: must match pattern/, name);
    }
  });

  test('a hard link is the file that it is: refused with other bytes, noticed when written to', async (t) => {
    const models = await modelsFolder(t);
    const folder = await copyTiny(models, 'linked');
    const outside = join(models, 'outside.bin');
    await cp(join(folder, 'model.onnx'), outside);
    await rm(join(folder, 'model.onnx'));
    await link(outside, join(folder, 'model.onnx'));
    const bundle = await loadBundle(folder);
    await appendFile(outside, 'x');
    assert.equal(await isUnchanged(bundle), false);
    await bundle.files.close();
    assert.match((await problemsOf(folder)).join(), /^model\.onnx has \d+ bytes, expected/);
  });
});

describe('files that are larger or deeper than such files are', () => {
  test('a manifest of gigabytes is not read', async (t) => {
    const models = await modelsFolder(t);
    const folder = await copyTiny(models, 'hostile');
    await truncate(join(folder, 'manifest.json'), 4 * 1024 ** 3);
    assert.match((await problemsOf(folder)).join(), /^manifest\.json has 4294967296 bytes, at most 16777216 are read/);
    assert.deepEqual(await statedGraphs(models), []);
  });

  test('golden vectors of gigabytes are not read', async (t) => {
    const folder = await copyTiny(await modelsFolder(t), 'hostile');
    await truncate(join(folder, 'golden.json'), 200 * 1024 ** 2);
    await restate(folder, 'golden.json');
    assert.match((await problemsOf(folder)).join(), /^golden\.json has 209715200 bytes, at most 134217728 are read/);
  });

  for (const file of ['manifest.json', 'golden.json', 'tokenizer.json', 'tokenizer_config.json'])
    test(`${file} of a million levels`, async (t) => {
      const folder = await copyTiny(await modelsFolder(t), 'hostile');
      await writeFile(join(folder, file), `{"a":${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}}`);
      if (file !== 'manifest.json') await restate(folder, file);
      assert.deepEqual(await problemsOf(folder), [`${file} nests deeper than 64 levels`]);
    });

  test('brackets within texts are no levels', async (t) => {
    const folder = await copyTiny(await modelsFolder(t), 'sound', set('description', `\\"${'['.repeat(100)}`));
    assert.deepEqual(await problemsOf(folder), []);
  });

  test('a manifest that lists more files than a process can open', async (t) => {
    const folder = await copyTiny(await modelsFolder(t), 'hostile', (manifest) => {
      for (let i = 0; i < 10_000; i++) manifest.files.push({ file: `f${i}`, bytes: 0, sha256: '0'.repeat(64) });
    });
    assert.match((await problemsOf(folder)).join(), /manifest\.json\/files: must not have more than 64 items/);
  });

  test('windows and classes without end', async (t) => {
    const models = await modelsFolder(t);
    const long = await copyTiny(models, 'long', set('input.maxTokens', 2 ** 40));
    assert.match((await problemsOf(long)).join(), /\/input\/maxTokens: must be <= 1048576/);
    const wide = await copyTiny(
      models,
      'wide',
      set(
        'labels',
        Array.from({ length: 1_001 }, (_, i) => `L${i}`),
      ),
    );
    assert.match((await problemsOf(wide)).join(), /\/labels: must not have more than 1000 items/);
  });
});

describe('files that are swapped between check and use', () => {
  test('what was verified is what is read, also when another file of the same size and time takes its name', async (t) => {
    const folder = await copyTiny(await modelsFolder(t), 'swapped');
    const bundle = await loadBundle(folder);
    const path = join(folder, 'golden.json');
    const content = await readFile(path);
    await rm(path);
    await writeFile(path, Buffer.alloc(content.length, 'x'));
    const { modifiedMs } = bundle.files.get('golden.json');
    await utimes(path, modifiedMs / 1000, modifiedMs / 1000);
    assert.deepEqual(await bundle.files.read('golden.json', content.length), content);
    // Another file, whatever its size and time: the next reload reads the folder again and refuses it.
    assert.equal(await isUnchanged(bundle), false);
    await bundle.files.close();
    assert.match((await problemsOf(folder)).join(), /^golden\.json has SHA-256/);
  });
});
