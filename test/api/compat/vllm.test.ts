import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import { engineError } from '../fake-engine.ts';
import { type Asked, foreignApp, MARK } from './foreign.ts';

const PROBLEM = 'application/problem+json';

function errorOf({ body }: Asked): { message: string; type: string; param: string | null; code: number } {
  return (body as { error: ReturnType<typeof errorOf> }).error;
}

function summary(answer: Asked): unknown[] {
  const { type, param, code } = errorOf(answer);
  assert.equal(code, answer.status);
  return [code, type, param];
}

const BAD: readonly [name: string, body: object, status: number, type: string, param: string | null][] = [
  ['token ids', { input: [1, 2] }, 400, 'BadRequestError', 'input'],
  ['lists of token ids', { input: [[1, 2]] }, 400, 'BadRequestError', 'input'],
  ['an object', { input: { text: MARK } }, 400, 'BadRequestError', 'input'],
  ['no text', { input: [] }, 400, 'BadRequestError', 'input'],
  ['too many texts', { input: Array(257).fill('a') }, 400, 'BadRequestError', 'input'],
  ['a text over the limit', { input: MARK.repeat(2_000) }, 400, 'BadRequestError', 'input'],
  ['a model that is no name', { input: 'a', model: 5 }, 400, 'BadRequestError', 'model'],
  ['an unknown model', { input: 'a', model: MARK }, 404, 'NotFoundError', null],
  ['chat messages', { messages: [{ role: 'user', content: MARK }] }, 400, 'BadRequestError', 'messages'],
];

describe('vLLM on POST /classify', () => {
  it('is told apart by `input`', async () => {
    const { ask } = await foreignApp();
    const native = (await ask('POST', '/classify', { text: 'rude' })).body as { results: unknown[] };
    assert.equal(native.results.length, 1);
    const { body } = await ask('POST', '/classify', { input: ['a', 'rude'], model: 'plain', anything: 1 });
    const { object, data } = body as { object: string; data: unknown };
    assert.equal(object, 'list');
    assert.deepEqual(data, [
      { index: 0, label: 'normal', probs: [0.9, 0.06, 0.04], num_classes: 3 },
      { index: 1, label: 'offensive', probs: [0.3, 0.35, 0.35], num_classes: 3 },
    ]);
    const both = await ask('POST', '/classify', { input: 'a', text: 'b' }, { errorType: PROBLEM });
    assert.equal((both.body as { code: string }).code, 'unknown_option');
  });

  it('compiles its validator once, not for every request', async (t) => {
    const { classify } = await foreignApp();
    await classify({ input: 'a' });
    // What Ajv makes a validator with.
    const compile = t.mock.method(globalThis, 'Function');
    for (let request = 0; request < 3; request += 1) await classify({ input: 'a' });
    assert.equal(compile.mock.callCount(), 0);
  });

  it('gives logarithms without the activation', async () => {
    const { ask } = await foreignApp();
    for (const option of ['use_activation', 'activation']) {
      const { body } = await ask('POST', '/classify', { input: 'rude', [option]: false });
      const [item] = (body as { data: { probs: number[] }[] }).data;
      assert.deepEqual(
        item?.probs.map((value) => Math.exp(value).toFixed(5)),
        ['0.10000', '0.90000'],
      );
    }
  });

  for (const [name, body, status, type, param] of BAD) {
    it(`refuses ${name} in its own shape`, async () => {
      const { ask, log } = await foreignApp();
      const answer = await ask('POST', '/classify', body);
      assert.deepEqual(summary(answer), [status, type, param]);
      assert.equal(`${JSON.stringify(answer.body)}${log.text()}`.includes(MARK), false);
    });
  }

  it('says what goes wrong later in its own shape', async () => {
    const { ask, engine } = await foreignApp();
    engine.failure = engineError('overloaded');
    const busy = await ask('POST', '/classify', { input: 'a' });
    assert.deepEqual([...summary(busy), busy.headers['retry-after']], [429, 'Too Many Requests', null, '1']);
    engine.failure = engineError('empty_after_normalization', 1);
    assert.deepEqual(summary(await ask('POST', '/classify', { input: ['a', ' '] })), [400, 'BadRequestError', 'input']);
  });

  it('lists every version that is served', async () => {
    const { ask } = await foreignApp();
    const { data } = (await ask('GET', '/v1/models')).body as { data: { id: string; root: string }[] };
    assert.deepEqual(
      data.map(({ id, root }) => [id, root]),
      [
        ['gated', 'gated@1.2.3'],
        ['plain', 'plain@1.2.3'],
      ],
    );
  });

  it('is not spoken where it is switched off', async () => {
    const { ask, app } = await foreignApp({ compat: ['tei'] });
    const answer = await ask('POST', '/classify', { input: 'a' }, { errorType: PROBLEM });
    assert.equal((answer.body as { code: string }).code, 'missing_text');
    assert.equal((await app.inject('/v1/models')).statusCode, 404);
  });

  it('never fails, and always answers in its own shape, whatever follows `input`', async () => {
    const { ask } = await foreignApp();
    const given = fc.record(
      {
        input: fc.oneof(fc.string(), fc.array(fc.string()), fc.jsonValue()),
        model: fc.oneof(fc.constantFrom('gated', 'plain'), fc.jsonValue()),
        use_activation: fc.oneof(fc.boolean(), fc.jsonValue()),
        other: fc.jsonValue(),
      },
      { requiredKeys: ['input'] },
    );
    await fc.assert(
      fc.asyncProperty(given, async (body) => {
        const answer = await ask('POST', '/classify', body);
        assert.ok(answer.status < 500);
        if (answer.status >= 400) assert.equal(errorOf(answer).code, answer.status);
      }),
      { numRuns: 300 },
    );
  });
});
