import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { deflateSync, gzipSync } from 'node:zlib';

import fc from 'fast-check';

import { engineError } from '../fake-engine.ts';
import { foreignApp, MARK } from './foreign.ts';

const INFER = '/v2/models/{model}/infer';
const KEY = 'an-admin-key';

interface Output {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
  readonly data?: readonly unknown[];
  readonly parameters?: { readonly binary_data_size: number };
}
interface Answer {
  readonly id?: string;
  readonly model_version: string;
  readonly outputs: readonly Output[];
}

async function kserve(...settings: Parameters<typeof foreignApp>) {
  const test = await foreignApp(...settings);
  const infer = (payload: unknown, headers: Record<string, string> = {}, model = 'gated') =>
    test.ask('POST', `/v2/models/${model}/infer`, payload, { path: INFER, headers });
  return { ...test, infer };
}

/** A request of one tensor that is right but for what is given. */
function tensor(changes: object = {}): { inputs: object[] } {
  return { inputs: [{ name: 'text', shape: [1], datatype: 'BYTES', data: ['rude'], ...changes }] };
}

/** Texts as the extension encodes them. */
function encode(...texts: readonly string[]): Buffer {
  return Buffer.concat(
    texts.flatMap((text) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(Buffer.byteLength(text));
      return [length, Buffer.from(text)];
    }),
  );
}

/** A body of JSON and binary data, and the header that goes with it. */
function withBinary(request: object, binary: Buffer): [body: Buffer, headers: Record<string, string>] {
  const json = Buffer.from(JSON.stringify(request));
  return [Buffer.concat([json, binary]), { 'inference-header-content-length': String(json.length) }];
}

function binaryTensor(shape: readonly number[], size: number, changes: object = {}) {
  return tensor({ shape, data: undefined, parameters: { binary_data_size: size }, ...changes });
}

const TWO = encode('a', 'rude');
/** The second text says that it is four gigabytes long. */
const HUGE = Buffer.concat([encode('a'), Buffer.from([0xff, 0xff, 0xff, 0xff, 0x61])]);
const NOT_UTF8 = Buffer.from([1, 0, 0, 0, 0xff]);

const LIES: readonly [name: string, body: unknown, headers?: Record<string, string>][] = [
  ['not JSON', '{"inputs":'],
  ['no body', ''],
  ['no inputs', {}],
  ['two inputs', { inputs: [...tensor().inputs, ...tensor().inputs] }],
  ['another datatype', tensor({ datatype: 'FP32', data: [1] })],
  ['more elements than data', tensor({ shape: [2] })],
  ['fewer elements than data', tensor({ data: [MARK, MARK] })],
  ['no dimensions', tensor({ shape: [] })],
  ['no elements', tensor({ shape: [0], data: [] })],
  ['a negative dimension', tensor({ shape: [-1] })],
  ['a fraction', tensor({ shape: [1.5] })],
  ['a huge dimension', tensor({ shape: [9_007_199_254_740_991] })],
  ['dimensions whose product overflows', tensor({ shape: [4_294_967_296, 4_294_967_296] })],
  ['rows of two', tensor({ shape: [1, 2], data: [MARK, MARK] })],
  ['numbers for texts', tensor({ data: [1] })],
  ['neither data nor binary data', tensor({ data: undefined })],
  [
    'shared memory',
    tensor({ data: undefined, parameters: { shared_memory_region: MARK, shared_memory_byte_size: 9 } }),
  ],
  ['a text over the limit', tensor({ data: [MARK.repeat(2_000)] })],
  ['an output that there is not', { ...tensor(), outputs: [{ name: MARK }] }],
  ['classes of a tensor without', { ...tensor(), outputs: [{ name: 'label', parameters: { classification: 1 } }] }],
  ['a compression that there is not', gzipSync('{}'), { 'content-encoding': 'deflate' }],
  ['a size without bytes', binaryTensor([1], 5)],
  ['bytes without a size', ...withBinary(tensor(), TWO)],
  ['a size that is too large', ...withBinary(binaryTensor([2], TWO.length + 1), TWO)],
  ['a size that is too small', ...withBinary(binaryTensor([1], encode('a').length), TWO)],
  ['a huge size', ...withBinary(binaryTensor([2], 9_007_199_254_740_991), TWO)],
  ['bytes that end in a text', ...withBinary(binaryTensor([2], TWO.length - 1), TWO.subarray(0, -1))],
  ['bytes that end in a length', ...withBinary(binaryTensor([2], 7), TWO.subarray(0, 7))],
  ['more texts than the shape says', ...withBinary(binaryTensor([1], TWO.length), TWO)],
  ['fewer texts than the shape says', ...withBinary(binaryTensor([3], TWO.length), TWO)],
  ['a text of four gigabytes', ...withBinary(binaryTensor([2], HUGE.length), HUGE)],
  ['a text that is not UTF-8', ...withBinary(binaryTensor([1], NOT_UTF8.length), NOT_UTF8)],
  ['a header beyond the body', tensor(), { 'inference-header-content-length': '100000' }],
  ['a header that is no number', tensor(), { 'inference-header-content-length': '-1' }],
  ['a header of nothing', tensor(), { 'inference-header-content-length': '0' }],
];

describe('Open Inference Protocol', () => {
  it('answers with every output of the model, or those that are named', async () => {
    const { infer, engine } = await kserve();
    const all = (await infer({ id: '7', ...tensor({ shape: [2, 1], data: [['a'], ['rude']] }) })).body as Answer;
    assert.deepEqual([all.id, all.model_version], ['7', '1.2.3']);
    assert.deepEqual(all.outputs, [
      { name: 'probabilities', datatype: 'FP32', shape: [2, 2], data: [0.8, 0.2, 0.1, 0.9] },
      { name: 'label', datatype: 'BYTES', shape: [2], data: ['NOT', 'OFF'] },
      { name: 'offensive', datatype: 'FP32', shape: [2], data: [0.2, 0.9] },
      { name: 'gates', datatype: 'FP32', shape: [2, 3], data: [0.5, 0.7, 0.9, 0.5, 0.7, 0.9] },
    ]);
    assert.deepEqual(engine.seen, [{ model: 'gated', texts: ['a', 'rude'] }]);

    const outputs = [{ name: 'probabilities', parameters: { classification: 5 } }, { name: 'label' }];
    const some = (await infer({ ...tensor(), outputs }, {}, 'plain')).body as Answer;
    assert.deepEqual(
      some.outputs.map(({ name, datatype, shape, data }) => [name, datatype, shape, data]),
      [
        ['probabilities', 'BYTES', [1, 3], ['0.35:1:offensive', '0.35:2:hate', '0.3:0:normal']],
        ['label', 'BYTES', [1], ['offensive']],
      ],
    );
  });

  it('takes and gives binary tensors, each output as it is asked for', async () => {
    const { infer, engine } = await kserve();
    const [body, headers] = withBinary(
      {
        ...binaryTensor([2], TWO.length),
        parameters: { binary_data_output: true },
        outputs: [
          { name: 'label' },
          { name: 'offensive', parameters: { binary_data: false } },
          { name: 'probabilities' },
        ],
      },
      TWO,
    );
    const answer = await infer(body, headers);
    assert.deepEqual(engine.seen, [{ model: 'gated', texts: ['a', 'rude'] }]);
    assert.equal(answer.headers['content-type'], 'application/octet-stream');
    const length = Number(answer.headers['inference-header-content-length']);
    const { outputs } = JSON.parse(answer.bytes.subarray(0, length).toString()) as Answer;
    assert.deepEqual(
      outputs.map(({ name, parameters, data }) => [name, parameters?.binary_data_size, data]),
      [
        ['label', 14, undefined],
        ['offensive', undefined, [0.2, 0.9]],
        ['probabilities', 16, undefined],
      ],
    );
    const binary = answer.bytes.subarray(length);
    assert.deepEqual(binary.subarray(0, 14), encode('NOT', 'OFF'));
    assert.deepEqual(
      [0, 4, 8, 12].map((offset) => binary.readFloatLE(14 + offset)),
      [0.8, 0.2, 0.1, 0.9].map(Math.fround),
    );
  });

  it('reads compressed bodies, but not more than a body may be', async () => {
    const { infer } = await kserve();
    const json = JSON.stringify(tensor());
    assert.equal((await infer(gzipSync(json), { 'content-encoding': 'gzip' })).status, 200);
    assert.equal((await infer(deflateSync(json), { 'content-encoding': 'deflate' })).status, 200);
    const bomb = gzipSync(Buffer.alloc(64 * 1_048_576));
    assert.equal((await infer(bomb, { 'content-encoding': 'gzip' })).status, 413);
    for (const encoding of ['br', 'constructor', '__proto__', 'toString']) {
      assert.equal((await infer(json, { 'content-encoding': encoding })).status, 415);
    }
  });

  for (const [name, body, headers] of LIES) {
    it(`refuses ${name}`, async () => {
      const { infer, engine, log } = await kserve();
      const answer = await infer(body, headers);
      const { error } = answer.body as { error: string };
      assert.deepEqual([answer.status, typeof error], [400, 'string']);
      assert.deepEqual(engine.seen, []);
      assert.equal(`${error}${log.text()}`.includes(MARK), false);
    });
  }

  it('has a status for what goes wrong later, and passes the timeout on', async () => {
    const { infer, engine } = await kserve();
    await infer({ ...tensor(), parameters: { timeout: 1_500 } });
    assert.equal(engine.asked.at(-1)?.timeoutMs, 2);
    assert.equal((await infer(tensor(), {}, 'none')).status, 404);
    for (const [code, status] of [
      ['overloaded', 503],
      ['empty_after_normalization', 400],
      ['deadline_exceeded', 504],
      ['inference_failed', 503],
    ] as const) {
      engine.failure = engineError(code);
      const answer = await infer(tensor());
      assert.deepEqual(
        [answer.status, answer.headers['retry-after']],
        [status, code === 'overloaded' ? '1' : undefined],
      );
    }
  });

  it('says what a model takes and gives; what has no gates offers none', async () => {
    const { ask } = await kserve();
    const path = '/v2/models/{model}/versions/{version}';
    const { body } = await ask('GET', '/v2/models/plain/versions/1.2.3', undefined, { path });
    assert.deepEqual((body as { outputs: unknown }).outputs, [
      { name: 'probabilities', datatype: 'FP32', shape: [-1, 3] },
      { name: 'label', datatype: 'BYTES', shape: [-1] },
      { name: 'offensive', datatype: 'FP32', shape: [-1] },
    ]);
    assert.equal((await ask('GET', '/v2/models/plain/versions/9', undefined, { path })).status, 404);
    const config = await ask('GET', '/v2/models/gated/config', undefined, { path: '/v2/models/{model}/config' });
    assert.deepEqual((config.body as { parameters: unknown }).parameters, {
      probabilities_columns: { string_value: '["NOT","OFF"]' },
      gates_columns: { string_value: '["0.query","0.value","1.value"]' },
    });
  });

  it('is ready while requests should come', async () => {
    const { ask, engine, lifecycle } = await kserve();
    const ready = { path: '/v2/models/{model}/ready' };
    assert.deepEqual((await ask('GET', '/v2/health/ready')).body, { ready: true });
    assert.deepEqual((await ask('GET', '/v2/models/plain/ready', undefined, ready)).body, {
      name: 'plain',
      ready: true,
    });
    engine.healthy = false;
    assert.equal((await ask('GET', '/v2/models/plain/ready', undefined, ready)).status, 503);
    assert.equal((await ask('GET', '/v2/health/ready')).status, 503);
    engine.healthy = true;
    lifecycle.drain();
    assert.equal((await ask('GET', '/v2/health/ready')).status, 503);
    assert.deepEqual((await ask('GET', '/v2/health/live')).body, { live: true });
  });

  it('loads and unloads with the key only, and has no such routes without one', async () => {
    const key = { authorization: `Bearer ${KEY}` };
    const { ask } = await kserve({ adminKey: KEY });
    const change = (verb: string, model: string, headers: Record<string, string> = key, body?: unknown) =>
      ask('POST', `/v2/repository/models/${model}/${verb}`, body, {
        path: `/v2/repository/models/{model}/${verb}`,
        headers,
      });
    const state = async () => {
      const { body } = await ask('POST', '/v2/repository/index');
      return (body as { name: string; state: string }[]).map((entry) => `${entry.name} ${entry.state}`);
    };
    assert.equal((await change('unload', 'plain', {})).status, 401);
    assert.equal((await change('unload', 'plain', { 'x-api-key': 'another' })).status, 401);
    assert.equal((await change('unload', 'plain', key, { parameters: { unload_dependents: false } })).status, 200);
    assert.deepEqual(await state(), ['broken UNAVAILABLE', 'gated READY', 'plain UNAVAILABLE']);
    assert.equal((await change('unload', 'plain')).status, 404);
    assert.equal((await change('load', 'plain', key, {})).status, 200);
    // As tritonclient sends it: JSON that is not said to be.
    const untyped = { 'content-type': 'application/x-www-form-urlencoded', ...key };
    assert.equal((await change('load', 'plain', untyped, {})).status, 200);
    assert.deepEqual(await state(), ['broken UNAVAILABLE', 'gated READY', 'plain READY']);
    const refused = await change('load', 'broken');
    assert.deepEqual([refused.status, refused.body], [400, { error: 'model.onnx has another checksum' }]);
    assert.equal((await change('load', 'none')).status, 404);
    assert.equal((await change('load', 'plain', key, { parameters: { config: '{}' } })).status, 400);
    assert.equal((await change('unload', 'gated')).status, 409);

    const without = await kserve();
    for (const verb of ['load', 'unload']) {
      const answer = await without.app.inject({
        method: 'POST',
        url: `/v2/repository/models/plain/${verb}`,
        headers: key,
      });
      assert.equal(answer.statusCode, 404);
      assert.equal(typeof (JSON.parse(answer.body) as { error: unknown }).error, 'string');
    }
    assert.equal(without.engine.find('plain')?.name, 'plain');
  });

  it('never fails, and always answers in its own shape, whatever is sent', async () => {
    const { infer } = await kserve();
    const json = fc.oneof(
      fc.record(
        {
          id: fc.jsonValue(),
          parameters: fc.oneof(fc.record({ binary_data_output: fc.boolean() }), fc.jsonValue()),
          inputs: fc.oneof(
            fc.tuple(
              fc.record(
                {
                  name: fc.string(),
                  shape: fc.oneof(fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 3 }), fc.jsonValue()),
                  datatype: fc.oneof(fc.constant('BYTES'), fc.jsonValue()),
                  parameters: fc.oneof(fc.record({ binary_data_size: fc.nat({ max: 40 }) }), fc.jsonValue()),
                  data: fc.oneof(fc.array(fc.string()), fc.jsonValue()),
                },
                { requiredKeys: ['name', 'shape', 'datatype'] },
              ),
            ),
            fc.jsonValue(),
          ),
          outputs: fc.oneof(
            fc.array(fc.record({ name: fc.constantFrom('label', 'gates', 'x'), parameters: fc.jsonValue() })),
            fc.jsonValue(),
          ),
        },
        { requiredKeys: [] },
      ),
      fc.jsonValue(),
    );
    const binary = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes));
    const header = fc.option(
      fc.oneof(fc.nat({ max: 200 }).map(String), fc.constantFrom('x', '', '1e3', '99999999999999999999')),
    );
    await fc.assert(
      fc.asyncProperty(json, binary, header, fc.boolean(), async (request, bytes, length, honest) => {
        const [body, headers] = withBinary(request as object, bytes);
        const given = honest ? headers : length === null ? {} : { 'inference-header-content-length': length };
        assert.ok((await infer(body, given)).status < 500);
      }),
      { numRuns: 500 },
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 64 }), header, async (bytes, length) => {
        const given = length === null ? {} : { 'inference-header-content-length': length };
        assert.equal((await infer(Buffer.from(bytes), given)).status, 400);
      }),
      { numRuns: 200 },
    );
  });
});
