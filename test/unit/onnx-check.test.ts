/** What a graph may hold, at its limits and one beyond them. Field numbers are those of onnx/onnx.proto. */
import assert from 'node:assert/strict';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { checkGraph } from '../../src/bundle/onnx/check-graph.ts';
import { bytes, number, varint } from '../fixtures/protobuf.ts';

const FLOAT = 1;
const STRING = 8;
const node = (...parts: readonly Buffer[]) => bytes(1, bytes(4, 'Add'), ...parts);
/** A model of one node, and of what is added to its graph. */
const model = (...parts: readonly Buffer[]) => bytes(7, node(), ...parts);
const tensor = (dims: readonly number[], type: number, ...parts: readonly Buffer[]) =>
  bytes(5, ...dims.map((dim) => number(1, dim)), number(2, type), bytes(8, 'w'), ...parts);
const raw = (length: number) => bytes(9, Buffer.alloc(length));
const entry = (key: string, value: string) => bytes(13, bytes(1, key), bytes(2, value));
const ELSEWHERE = number(14, 1);
const fixed32 = (field: number) => Buffer.concat([varint((field << 3) | 5), Buffer.alloc(4)]);
const fixed64 = (field: number) => Buffer.concat([varint((field << 3) | 1), Buffer.alloc(8)]);

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'onnx-'));
});
after(() => rm(folder, { recursive: true }));

/** @param size stated instead of the real one */
function problemsOf(
  content: Buffer,
  externals: Readonly<Record<string, number>> = {},
  size = content.length,
): readonly string[] {
  const path = join(folder, 'model.onnx');
  writeFileSync(path, content);
  const descriptor = openSync(path, 'r');
  try {
    return checkGraph(descriptor, size, new Map(Object.entries(externals)));
  } finally {
    closeSync(descriptor);
  }
}

describe('values of a tensor', () => {
  // TensorProto.DataType -> bits of one value.
  const BITS: Readonly<Record<number, number>> = {
    ...{ 1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128 },
    ...{ 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2 },
  };
  for (const [type, bits] of Object.entries(BITS))
    test(`of data type ${type} have ${bits} bits each`, () => {
      const needed = Math.ceil((3 * bits) / 8);
      assert.deepEqual(problemsOf(model(tensor([3], Number(type), raw(needed)))), []);
      for (const length of [needed - 1, needed + 1])
        assert.deepEqual(problemsOf(model(tensor([3], Number(type), raw(length)))), [
          `tensor "w" has ${length} bytes of values, its dimensions need ${needed}`,
        ]);
    });

  test('of no known type are refused', () => {
    for (const type of [0, 27])
      assert.deepEqual(problemsOf(model(tensor([1], type, raw(1)))), [`tensor "w" has the unknown data type ${type}`]);
  });

  test('of a scalar are one', () => {
    assert.deepEqual(problemsOf(model(tensor([], FLOAT, raw(4)))), []);
  });

  test('of an empty tensor are none', () => {
    assert.deepEqual(problemsOf(model(tensor([0, 5], FLOAT))), []);
    assert.deepEqual(problemsOf(model(tensor([0], FLOAT, raw(0)))), []);
  });

  for (const field of [4, 5, 6, 7, 10, 11])
    test(`may be in field ${field}, eight to a byte at most`, () => {
      assert.deepEqual(problemsOf(model(tensor([16], FLOAT, bytes(field, Buffer.alloc(2))))), []);
      assert.deepEqual(problemsOf(model(tensor([17], FLOAT, bytes(field, Buffer.alloc(2))))), [
        'tensor "w" has fewer values than its dimensions (17) need',
      ]);
    });

  test('of several fields are counted together', () => {
    const parts = [bytes(4, Buffer.alloc(1)), bytes(4, Buffer.alloc(1))];
    assert.deepEqual(problemsOf(model(tensor([16], FLOAT, ...parts))), []);
  });

  test('that are texts are counted by their bytes', () => {
    assert.deepEqual(problemsOf(model(tensor([8], STRING, bytes(6, 'x')))), []);
    assert.match(problemsOf(model(tensor([9], STRING, bytes(6, 'x')))).join(), /fewer values/);
    // Raw values have no texts in them.
    assert.match(problemsOf(model(tensor([1], STRING, raw(1)))).join(), /fewer values than its dimensions/);
  });

  test('may have sixteen dimensions, packed or not', () => {
    const ones = (length: number) => new Array<number>(length).fill(1);
    const packed = (length: number) => bytes(1, ...ones(length).map(varint));
    assert.deepEqual(problemsOf(model(tensor(ones(16), FLOAT, raw(4)))), []);
    assert.deepEqual(problemsOf(model(tensor([], FLOAT, packed(16), raw(4)))), []);
    assert.deepEqual(problemsOf(model(tensor(ones(17), FLOAT, raw(4)))), ['tensor "w" has 17 dimensions, at most 16']);
    assert.deepEqual(problemsOf(model(tensor([], FLOAT, packed(17), raw(4)))), [
      'is no ONNX graph: it has a list of more than 16 numbers',
    ]);
  });

  test('have dimensions that are numbers', () => {
    assert.deepEqual(problemsOf(model(tensor([], FLOAT, fixed32(1), raw(4)))), [
      'is no ONNX graph: it has fixed numbers where others belong',
    ]);
    assert.deepEqual(problemsOf(model(bytes(5, number(1, 2n ** 63n), number(2, FLOAT), bytes(8, 'w')))), [
      'tensor "w" has a negative dimension',
    ]);
    assert.match(
      problemsOf(model(bytes(5, number(1, 2n ** 63n - 1n), number(2, FLOAT), bytes(8, 'w')))).join(),
      /fewer values than its dimensions \(9223372036854775807\) need/,
    );
  });
});

describe('values in another file', () => {
  const external = (...parts: readonly Buffer[]) => model(tensor([4], FLOAT, ELSEWHERE, ...parts));
  const place = (offset: string, length: string) =>
    external(entry('location', 'weights.bin'), entry('offset', offset), entry('length', length));
  const files = { 'weights.bin': 32 };

  test('are within it', () => {
    assert.deepEqual(problemsOf(external(entry('location', 'weights.bin')), files), []);
    assert.deepEqual(problemsOf(place('16', '16'), files), []);
    assert.deepEqual(problemsOf(place('17', '16'), files), [
      'tensor "w" has values beyond the end of weights.bin, which has 32 bytes',
    ]);
    assert.deepEqual(problemsOf(external(entry('location', 'weights.bin')), { 'weights.bin': 15 }), [
      'tensor "w" has values beyond the end of weights.bin, which has 15 bytes',
    ]);
  });

  test('are at a place that is a number', () => {
    for (const [offset, length] of [
      ['x1', '16'],
      ['1x', '16'],
      ['', '16'],
      ['0', '16x'],
      ['0', 'x16'],
      ['1'.repeat(19), '16'],
      ['0', '1'.repeat(19)],
    ] as const)
      assert.deepEqual(problemsOf(place(offset, length), files), [
        'tensor "w" has values at a place that is no number',
      ]);
    // As long as a number may be, and far beyond any file.
    assert.match(problemsOf(place('1'.repeat(18), '16'), files).join(), /beyond the end/);
  });

  test('are as long as the tensor', () => {
    for (const length of ['15', '17'])
      assert.deepEqual(problemsOf(place('0', length), files), [
        `tensor "w" has ${length} bytes of values, its dimensions need 16`,
      ]);
  });

  test('are in no other file than those of the graph', () => {
    assert.deepEqual(problemsOf(external(entry('location', 'a\u001bb')), files), [
      'tensor "w" has its values in "a\\u001bb", which externalData of the graph does not list',
    ]);
  });

  test('are not in the graph too', () => {
    const both = ['tensor "w" has values both here and elsewhere'];
    const location = entry('location', 'weights.bin');
    assert.deepEqual(problemsOf(external(location, raw(16)), files), both);
    assert.deepEqual(problemsOf(external(location, bytes(4, 'abcd')), files), both);
    // A place without the mark that it is used.
    assert.deepEqual(problemsOf(model(tensor([4], FLOAT, location)), files), both);
    assert.deepEqual(problemsOf(model(tensor([4], FLOAT, location, raw(16))), files), both);
  });
});

describe('names', () => {
  test('have at most 1024 bytes', () => {
    const named = (name: string | Buffer) => model(bytes(5, number(2, FLOAT), bytes(8, name), raw(4)));
    assert.deepEqual(problemsOf(named('x'.repeat(1024))), []);
    assert.deepEqual(problemsOf(named('x'.repeat(1025))), ['is no ONNX graph: it has a name of 1025 bytes']);
    assert.deepEqual(problemsOf(named(Buffer.from([0xff]))), ['is no ONNX graph: it has a name that is not UTF-8']);
    assert.deepEqual(problemsOf(model(bytes(5, number(8, 1)))), [
      'is no ONNX graph: it has a number where a string belongs',
    ]);
  });

  test('are shown up to 80 characters', () => {
    const shown = (length: number) => problemsOf(model(bytes(5, number(2, 99), bytes(8, 'x'.repeat(length)))))[0];
    assert.equal(shown(80), `tensor "${'x'.repeat(80)}" has the unknown data type 99`);
    assert.equal(shown(81), `tensor "${'x'.repeat(80)}…" has the unknown data type 99`);
  });
});

describe('nodes', () => {
  const of = (operator: string, domain = '') => model(bytes(1, bytes(4, operator), bytes(7, domain)));

  test('are of ONNX and of onnxruntime', () => {
    for (const domain of ['', 'ai.onnx', 'com.microsoft']) assert.deepEqual(problemsOf(of('Add', domain)), []);
    assert.deepEqual(problemsOf(of('Add', 'ai.onnx.ml')), [
      'has operators of the domain "ai.onnx.ml", which need a library of their own',
    ]);
  });

  for (const operator of ['EPContext', 'Snpe', 'ATen', 'PythonOp', 'PythonOpGrad', 'TritonOp'])
    test(`do not load or call anything: ${operator}`, () => {
      assert.deepEqual(problemsOf(of(operator)), [
        `has the operator ${operator}, which loads or calls what is not in the graph`,
      ]);
    });

  test('are messages, not numbers', () => {
    assert.deepEqual(problemsOf(bytes(7, number(1, 1))), ['is no ONNX graph: it has a number where a message belongs']);
  });

  test('may hold tensors, graphs and nothing sparse in their attributes', () => {
    const attribute = (field: number, ...content: readonly Buffer[]) => model(node(bytes(5, bytes(field, ...content))));
    const wrongTensor = [number(1, 1), number(2, 99)];
    for (const field of [5, 10])
      assert.deepEqual(problemsOf(attribute(field, ...wrongTensor)), ['tensor "" has the unknown data type 99']);
    const foreign = bytes(1, bytes(7, 'evil'));
    for (const field of [6, 11]) assert.match(problemsOf(attribute(field, foreign)).join(), /domain "evil"/);
    const sparse = ['has sparse tensors: export it with dense ones'];
    for (const field of [22, 23]) assert.deepEqual(problemsOf(attribute(field)), sparse);
    assert.deepEqual(problemsOf(model(bytes(15))), sparse);
    assert.deepEqual(problemsOf(Buffer.concat([model(), bytes(20)])), ['has training information']);
  });

  test('stand within each other eight deep at most', () => {
    /** A node whose attribute is a graph with such a node in it. */
    const nested = (depth: number): Buffer => (depth === 0 ? node() : node(bytes(5, bytes(6, nested(depth - 1)))));
    // The graph of the model is the first.
    assert.deepEqual(problemsOf(bytes(7, nested(7))), []);
    assert.deepEqual(problemsOf(bytes(7, nested(8))), [
      'is no ONNX graph: it has graphs within graphs, more than 8 deep',
    ]);
  });

  test('are at most 200,000, those of functions and branches with them', () => {
    const many = Buffer.alloc(200_000 * 2, bytes(1));
    assert.deepEqual(problemsOf(bytes(7, many)), []);
    const tooMany = ['is no ONNX graph: it has more than 200000 nodes'];
    assert.deepEqual(problemsOf(bytes(7, many, node())), tooMany);
    assert.deepEqual(problemsOf(Buffer.concat([bytes(7, many), bytes(25, bytes(7))])), tooMany);
  });

  test('of functions are looked at, and so are the defaults of their attributes', () => {
    const withFunction = (...parts: readonly Buffer[]) =>
      Buffer.concat([model(), bytes(25, bytes(10, 'own'), ...parts)]);
    assert.deepEqual(problemsOf(withFunction(bytes(7, bytes(7, 'own')))), []);
    assert.match(problemsOf(withFunction(bytes(7, bytes(7, 'evil')))).join(), /domain "evil"/);
    assert.match(problemsOf(withFunction(bytes(11, bytes(5, number(2, 99))))).join(), /unknown data type 99/);
  });

  test('are needed', () => {
    assert.deepEqual(problemsOf(bytes(7)), ['is no ONNX graph: it has no nodes']);
  });
});

test('of many problems ten are shown', () => {
  const wrong = (count: number) => model(...new Array<Buffer>(count).fill(tensor([1], 99)));
  assert.equal(problemsOf(wrong(10)).length, 10);
  const problems = problemsOf(wrong(12));
  assert.equal(problems.length, 11);
  assert.equal(problems.at(-1), 'has 2 more problems');
  assert.equal(problems[0], 'tensor "w" has the unknown data type 99');
});

describe('the fields of a file', () => {
  const no = (reason: string) => [`is no ONNX graph: it ${reason}`];

  test('of fixed size are passed over', () => {
    assert.deepEqual(problemsOf(Buffer.concat([fixed32(100), fixed64(101), model(fixed32(102), fixed64(103))])), []);
  });

  test('end within what they are part of', () => {
    const whole = Buffer.concat([model(), fixed64(100)]);
    for (const missing of [1, 8])
      assert.deepEqual(
        problemsOf(whole.subarray(0, whole.length - missing)),
        no('has a field that is longer than what it is part of'),
      );
    // A field of the graph that ends where the model goes on.
    const graph = Buffer.concat([node(), varint((5 << 3) | 2), varint(40)]);
    assert.deepEqual(
      problemsOf(Buffer.concat([bytes(7, graph), bytes(100, Buffer.alloc(60))])),
      no('has a field that is longer than what it is part of'),
    );
    assert.deepEqual(problemsOf(Buffer.concat([model(), Buffer.from([0x80])])), no('ends within a number'));
  });

  test('have a number', () => {
    assert.deepEqual(problemsOf(Buffer.concat([model(), number(0, 1)])), no('has a field without a number'));
  });

  test('are of known kinds', () => {
    for (const wire of [3, 4, 6, 7])
      assert.deepEqual(
        problemsOf(Buffer.concat([model(), varint((100 << 3) | wire)])),
        no(`has a field of the unknown kind ${wire}`),
      );
  });

  test('have numbers of ten bytes at most', () => {
    const long = (bytesOfIt: number) =>
      Buffer.concat([model(), varint(100 << 3), Buffer.alloc(bytesOfIt - 1, 0x80), Buffer.from([1])]);
    assert.deepEqual(problemsOf(long(10)), []);
    assert.deepEqual(problemsOf(long(11)), no('has a number of more than ten bytes'));
  });

  test('of any length are read right, wherever pieces of the file begin', () => {
    // A problem behind a field of each length, across the 64 KiB that are read at a time.
    for (const length of [0, 127, 128, 16_383, 16_384, 65_500, 65_535, 65_536, 131_072, 2_097_152])
      assert.deepEqual(problemsOf(Buffer.concat([bytes(100, Buffer.alloc(length)), model(tensor([1], 99))])), [
        'tensor "w" has the unknown data type 99',
      ]);
    for (let shift = 0; shift < 24; shift++)
      assert.match(
        problemsOf(Buffer.concat([bytes(100, Buffer.alloc(65_520 + shift)), model(tensor([2 ** 35], FLOAT))])).join(),
        /\(34359738368\)/,
      );
  });

  test('are as many as the file is said to be long', () => {
    const content = model();
    assert.deepEqual(problemsOf(content, {}, content.length + 4), no('ends within a field'));
    assert.deepEqual(problemsOf(Buffer.concat([content, Buffer.from([0xff])]), {}, content.length), []);
  });
});
