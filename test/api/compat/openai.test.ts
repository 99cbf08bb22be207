import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import { createAttributes } from '../../../src/api/compat/attributes.ts';
import { buildTestApp } from '../build-test-app.ts';
import { assertDocumented } from '../documented.ts';
import { engineError } from '../fake-engine.ts';

const PATH = '/v1/moderations';
const KEY = 'sk-marked';
/** Stands in bad bodies, and nowhere in an answer or a log. */
const MARK = 'Qzxv-marked';

interface Result {
  readonly flagged: boolean;
  readonly categories: Record<string, boolean>;
  readonly category_scores: Record<string, number>;
  readonly category_applied_input_types: Record<string, string[]>;
}
interface Body {
  readonly id?: string;
  readonly model?: string;
  readonly results?: Result[];
  readonly error?: { message: string; type: string; param: string | null; code: string | null };
}

async function openai(...given: Parameters<typeof buildTestApp>) {
  const test = await buildTestApp(...given);
  async function ask(body: unknown) {
    const answer = await test.app.inject({
      method: 'POST',
      url: PATH,
      headers: { 'content-type': 'application/json', authorization: `Bearer ${KEY}` },
      payload: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body),
    });
    assertDocumented(answer, 'POST', PATH);
    assert.equal(test.log.text().includes(KEY), false);
    return { status: answer.statusCode, body: JSON.parse(answer.body) as Body, raw: answer };
  }
  return { ...test, ask };
}

/** The categories that are true, and those with a score. */
function summary({ flagged, categories, category_scores: scores, category_applied_input_types: types }: Result) {
  return {
    flagged,
    categories: Object.keys(categories).filter((name) => categories[name]),
    scores: Object.fromEntries(Object.entries(scores).filter(([name]) => types[name]?.includes('text'))),
  };
}

describe('POST /v1/moderations', () => {
  it('answers each text, and holds categories that are not scored as 0 and false', async () => {
    const { ask, engine, log } = await openai();
    const { body } = await ask({ input: ['rude', 'kind'] });
    assert.match(body.id ?? '', /^modr-[0-9a-f]{32}$/);
    assert.equal(body.model, 'gated@1.2.3');
    assert.deepEqual(body.results?.map(summary), [
      { flagged: true, categories: ['harassment'], scores: { harassment: 0.9 } },
      { flagged: false, categories: [], scores: { harassment: 0.2 } },
    ]);
    assert.equal(body.results?.[0]?.category_scores.violence, 0);
    assert.deepEqual(engine.seen.length, 1);
    const [line] = log.requests();
    assert.deepEqual([line?.route, line?.model, line?.texts], [PATH, 'gated', 2]);
  });

  it('is flagged exactly when a category is: by the threshold, or the highest of a text that is offensive in sum', async () => {
    const { ask } = await openai();
    // 0.35 offensive and 0.35 hate: neither reaches the balanced threshold of 0.5, their sum does.
    const { body } = await ask({ input: ['rude', 'kind'], model: 'plain' });
    assert.deepEqual(body.results?.map(summary), [
      { flagged: true, categories: ['harassment', 'hate'], scores: { harassment: 0.35, hate: 0.35 } },
      { flagged: false, categories: [], scores: { harassment: 0.06, hate: 0.04 } },
    ]);
  });

  it("takes the operator's mapping in place of the manifest's", async () => {
    const attributes = createAttributes(new Map([['gated', { OFF: { openai: ['hate', 'violence'] } }]]));
    const { ask } = await openai({}, { attributes });
    assert.deepEqual((await ask({ input: 'rude' })).body.results?.map(summary), [
      { flagged: true, categories: ['hate', 'violence'], scores: { hate: 0.9, violence: 0.9 } },
    ]);
  });

  it('still flags with a model that maps onto no category', async () => {
    const attributes = createAttributes(new Map([['gated', {}]]));
    const { ask } = await openai({}, { attributes });
    assert.deepEqual((await ask({ input: 'rude' })).body.results?.map(summary), [
      { flagged: true, categories: [], scores: {} },
    ]);
  });

  it('reads parts as one text', async () => {
    const { ask, engine } = await openai();
    const parts = ['one', 'two'].map((text) => ({ type: 'text', text }));
    assert.equal((await ask({ input: parts })).body.results?.length, 1);
    assert.deepEqual(engine.seen[0]?.texts, ['one\ntwo']);
  });

  it("takes OpenAI's names for the default model, ours, and no others", async () => {
    const { ask } = await openai();
    for (const [model, answered] of [
      ['omni-moderation-latest', 'gated@1.2.3'],
      ['text-moderation-stable', 'gated@1.2.3'],
      [null, 'gated@1.2.3'],
      ['plain', 'plain@1.2.3'],
    ]) {
      assert.equal((await ask({ input: 'a', model })).body.model, answered);
    }
    const { status, body, raw } = await ask({ input: 'a', model: MARK });
    assert.deepEqual([status, body.error?.code], [404, 'model_not_found']);
    assert.equal(raw.body.includes(MARK), false);
  });

  it('answers a text that leaves nothing to read as one that no category was applied to', async () => {
    const { ask, engine } = await openai();
    engine.failure = engineError('empty_after_normalization', 1);
    const { status, body } = await ask({ input: ['rude', '?!'] });
    assert.equal(status, 200);
    assert.deepEqual(body.results?.[1] && summary(body.results[1]), { flagged: false, categories: [], scores: {} });
  });

  const part = { type: 'text', text: MARK };
  const BAD: Readonly<Record<string, readonly [body: unknown, code: string | null, param: string | null]>> = {
    'no input': [{ model: 'gated' }, 'invalid_type', 'input'],
    'a number': [{ input: 5 }, 'invalid_type', 'input'],
    null: [{ input: null }, 'invalid_type', 'input'],
    'an empty list': [{ input: [] }, 'empty_array', 'input'],
    'too many texts': [{ input: Array(4).fill(MARK) }, 'array_above_max_length', 'input'],
    'a text that is too long': [{ input: MARK.repeat(10) }, 'string_above_max_length', 'input'],
    'a long one among texts': [{ input: ['a', MARK.repeat(10)] }, 'string_above_max_length', 'input[1]'],
    'parts that are too long together': [
      { input: Array(3).fill({ type: 'text', text: 'a'.repeat(40) }) },
      'string_above_max_length',
      'input',
    ],
    'texts and parts': [{ input: [MARK, part] }, 'invalid_type', 'input'],
    'a part of another type': [{ input: [{ type: 'audio', text: MARK }] }, 'invalid_type', 'input'],
    'an image': [{ input: [part, { type: 'image_url', image_url: { url: MARK } }] }, 'unsupported_value', 'input[1]'],
    'a number for model': [{ input: MARK, model: 1 }, 'invalid_type', 'model'],
    'an unknown argument': [{ input: MARK, user: 'x' }, 'unknown_parameter', null],
    'a text in place of an argument': [{ input: 'a', [`${MARK} x`]: 1 }, 'unknown_parameter', null],
    'a list for a body': [[MARK], 'invalid_type', null],
    'not JSON': [`{"input": "${MARK}"`, null, null],
    'not UTF-8': [Buffer.from(`{"input":"${MARK}\u00e9"}`, 'latin1'), 'invalid_utf8', null],
  };
  for (const [name, [request, code, param]] of Object.entries(BAD)) {
    it(`answers ${name} with what is wrong, and repeats no text`, async () => {
      const { ask, engine, log } = await openai({ maxTexts: 3, maxTextChars: 50 });
      const { status, body, raw } = await ask(request);
      const { type, message, ...rest } = body.error ?? assert.fail(raw.body);
      assert.deepEqual([status, type, rest], [400, 'invalid_request_error', { param, code }], message);
      assert.equal(raw.body.includes(MARK), false);
      assert.equal(log.text().includes(MARK), false);
      assert.deepEqual(engine.seen, []);
    });
  }

  it('answers what is no request of the protocol, and what the engine refuses, in its shape', async () => {
    const { app, engine, ask } = await openai({ bodyLimitBytes: 1_024 });
    for (const [method, url, status] of [
      ['GET', PATH, 405],
      ['DELETE', PATH, 405],
      ['POST', `${PATH}/modr-1`, 404],
    ] as const) {
      const answer = await app.inject({ method, url });
      assert.deepEqual([answer.statusCode, (answer.json() as Body).error?.type], [status, 'invalid_request_error']);
    }
    const text = await app.inject({
      method: 'POST',
      url: PATH,
      payload: 'a',
      headers: { 'content-type': 'text/plain' },
    });
    assert.deepEqual([text.statusCode, (text.json() as Body).error?.code], [415, 'unsupported_media_type']);
    assert.equal((await ask({ input: 'a'.repeat(2_000) })).status, 413);
    for (const [code, index, status, type] of [
      ['overloaded', undefined, 429, 'rate_limit_error'],
      ['shutting_down', undefined, 503, 'server_error'],
      ['inference_failed', 0, 503, 'server_error'],
      ['deadline_exceeded', 0, 504, 'server_error'],
      ['invalid_unicode', 0, 400, 'invalid_request_error'],
      ['quarantined', 0, 400, 'invalid_request_error'],
    ] as const) {
      engine.failure = engineError(code, index);
      const { status: answered, body, raw } = await ask({ input: ['a'] });
      assert.deepEqual(
        [answered, body.error?.type, body.error?.param],
        [status, type, index === 0 ? 'input[0]' : null],
      );
      assert.equal(raw.headers['retry-after'], code === 'overloaded' ? '1' : undefined);
    }
  });
});

describe('any body for POST /v1/moderations', () => {
  it('has an answer in the shape of OpenAI, and never an error of the server', async () => {
    const { ask } = await openai();
    const odd = fc.jsonValue();
    const text = fc.string({ unit: 'binary' });
    const near = fc.record(
      {
        input: fc.oneof(
          text,
          fc.array(text),
          fc.array(fc.record({ type: fc.constantFrom('text', 'image_url'), text })),
          odd,
        ),
        model: fc.oneof(fc.constantFrom('plain', 'omni-moderation-latest'), odd),
        other: odd,
      },
      { requiredKeys: [] },
    );
    await fc.assert(
      fc.asyncProperty(fc.oneof({ weight: 4, arbitrary: near }, { weight: 1, arbitrary: odd }), async (given) => {
        const { status, body, raw } = await ask(given);
        assert.ok(status < 500, raw.body);
        assert.ok(body.results !== undefined || body.error !== undefined);
      }),
      { numRuns: 300 },
    );
  });
});
