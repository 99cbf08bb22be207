import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import { engineError } from '../fake-engine.ts';
import { type Asked, foreignApp, MARK } from './foreign.ts';

interface Prediction {
  readonly label: string;
  readonly score: number;
}

function typeOf({ status, body }: Asked): [number, unknown] {
  return [status, (body as { error_type?: unknown }).error_type];
}

const BAD: readonly [name: string, body: unknown, status: number, type: string][] = [
  ['not JSON', '{"inputs":', 400, 'Validation'],
  ['not UTF-8', Buffer.from([0x22, 0xff, 0x22]), 400, 'Validation'],
  ['not an object', ['a'], 422, 'Validation'],
  ['without inputs', { text: MARK }, 422, 'Validation'],
  ['a number', { inputs: 5 }, 422, 'Validation'],
  ['a pair', { inputs: [MARK, 'b'] }, 422, 'Validation'],
  ['a pair in a batch', { inputs: [['a'], [MARK, 'b']] }, 422, 'Validation'],
  ['texts and lists mixed', { inputs: ['a', [MARK]] }, 422, 'Validation'],
  ['nothing in the list', { inputs: [] }, 400, 'Empty'],
  ['nothing in the batch', { inputs: [['a'], []] }, 400, 'Empty'],
  ['too many texts', { inputs: Array(257).fill(['a']) }, 422, 'Validation'],
  ['too long', { inputs: MARK.repeat(2_000) }, 422, 'Validation'],
  ['an option of the wrong type', { inputs: 'a', raw_scores: MARK }, 422, 'Validation'],
  ['body over the limit', { inputs: 'a'.repeat(1_100_000) }, 413, 'Validation'],
];

describe('text-embeddings-inference', () => {
  it('answers one text flat, a batch nested, most probable class first', async () => {
    const { ask, engine } = await foreignApp();
    const rude = [
      { score: 0.9, label: 'OFF' },
      { score: 0.1, label: 'NOT' },
    ];
    for (const path of ['/predict', '/', '/invocations']) {
      assert.deepEqual((await ask('POST', path, { inputs: 'rude' })).body, rude);
    }
    assert.deepEqual((await ask('POST', '/predict', { inputs: ['rude'] })).body, rude);
    const { body } = await ask('POST', '/predict', { inputs: [['a'], ['rude']], truncate: true, unknown: 1 });
    assert.deepEqual(
      (body as Prediction[][]).map(([first]) => first?.label),
      ['NOT', 'OFF'],
    );
    assert.deepEqual(engine.seen.at(-1)?.texts, ['a', 'rude']);
  });

  it('gives raw scores whose softmax is the probabilities', async () => {
    const { ask } = await foreignApp();
    const [probabilities, logits] = await Promise.all(
      [false, true].map(async (raw_scores) => {
        const { body } = await ask('POST', '/predict', { inputs: 'rude', raw_scores });
        return (body as Prediction[]).map(({ score }) => score);
      }),
    );
    const powers = (logits as number[]).map(Math.exp);
    const sum = powers.reduce((total, power) => total + power, 0);
    for (const [index, power] of powers.entries()) {
      assert.ok(Math.abs(power / sum - (probabilities?.[index] as number)) < 2e-6);
    }
  });

  for (const [name, body, status, type] of BAD) {
    it(`refuses ${name} with ${status} ${type}`, async () => {
      const { ask, engine, log } = await foreignApp();
      const answer = await ask('POST', '/predict', body);
      assert.deepEqual(typeOf(answer), [status, type]);
      assert.deepEqual(engine.seen, []);
      assert.equal(`${JSON.stringify(answer.body)}${log.text()}`.includes(MARK), false);
    });
  }

  it('has the statuses and types of that server for what goes wrong later', async () => {
    const { ask, engine } = await foreignApp();
    for (const [code, status, type] of [
      ['overloaded', 429, 'Overloaded'],
      ['inference_failed', 424, 'Backend'],
      ['deadline_exceeded', 424, 'Backend'],
      ['shutting_down', 503, 'Unhealthy'],
      ['empty_after_normalization', 400, 'Empty'],
      ['invalid_unicode', 422, 'Tokenizer'],
    ] as const) {
      engine.failure = engineError(code);
      const answer = await ask('POST', '/predict', { inputs: 'a' });
      assert.deepEqual(typeOf(answer), [status, type]);
      assert.equal(answer.headers['retry-after'], code === 'overloaded' ? '1' : undefined);
    }
  });

  it('passes on how long the client waits, as every route does', async () => {
    const { ask, engine } = await foreignApp();
    await ask('POST', '/predict', { inputs: 'a' }, { headers: { 'x-request-timeout-ms': '800' } });
    assert.equal(engine.asked.at(-1)?.timeoutMs, 800);
    const answer = await ask('POST', '/predict', { inputs: 'a' }, { headers: { 'x-request-timeout-ms': '-1' } });
    assert.deepEqual(typeOf(answer), [400, 'Validation']);
  });

  it('is healthy while requests should come', async () => {
    const { app, ask, engine, lifecycle } = await foreignApp();
    const healthy = await app.inject('/health');
    assert.deepEqual([healthy.statusCode, healthy.body], [200, '']);
    engine.healthy = false;
    assert.deepEqual(typeOf(await ask('GET', '/ping')), [503, 'Unhealthy']);
    engine.healthy = true;
    lifecycle.drain();
    assert.deepEqual(typeOf(await ask('GET', '/health')), [503, 'Unhealthy']);
  });

  it('says its labels and limits', async () => {
    const { ask } = await foreignApp({ maxTexts: 7 });
    const info = (await ask('GET', '/info')).body as Record<string, unknown>;
    assert.deepEqual(info.model_type, {
      classifier: { id2label: { 0: 'NOT', 1: 'OFF' }, label2id: { NOT: 0, OFF: 1 } },
    });
    assert.deepEqual([info.max_client_batch_size, info.auto_truncate], [7, false]);
  });

  it('answers clients of Hugging Face at a model’s address, one list a text', async () => {
    const { ask } = await foreignApp();
    const path = '/models/{model}';
    const { body } = await ask('POST', '/models/plain', { inputs: 'rude', parameters: { top_k: 2 } }, { path });
    assert.deepEqual(body, [
      [
        { score: 0.35, label: 'offensive' },
        { score: 0.35, label: 'hate' },
      ],
    ]);
    assert.deepEqual(typeOf(await ask('POST', '/models/none', { inputs: 'a' }, { path })), [404, 'Validation']);
    const sigmoid = { inputs: 'a', parameters: { function_to_apply: 'sigmoid' } };
    assert.deepEqual(typeOf(await ask('POST', '/models/plain', sigmoid, { path })), [422, 'Validation']);
  });

  it('never fails, and always answers in its own shape, whatever is sent', async () => {
    const { ask } = await foreignApp();
    const inputs = fc.oneof(fc.string(), fc.array(fc.string()), fc.array(fc.array(fc.string())), fc.jsonValue());
    const given = fc.oneof(
      fc.record(
        { inputs, raw_scores: fc.jsonValue(), truncate: fc.jsonValue(), parameters: fc.jsonValue() },
        { requiredKeys: [] },
      ),
      fc.jsonValue(),
    );
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 64 }).map((array) => Buffer.from(array));
    const target = fc.constantFrom(['/predict', '/predict'], ['/models/plain', '/models/{model}']);
    await fc.assert(
      fc.asyncProperty(target, fc.oneof(given, bytes), async ([url, path], body) => {
        const payload = Buffer.isBuffer(body) ? body : JSON.stringify(body);
        assert.ok((await ask('POST', url as string, payload, { path: path as string })).status < 500);
      }),
      { numRuns: 300 },
    );
  });
});
