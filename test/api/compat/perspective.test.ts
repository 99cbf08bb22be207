import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';

import fc from 'fast-check';

import { createAttributes } from '../../../src/api/compat/attributes.ts';
import { buildTestApp } from '../build-test-app.ts';
import { assertDocumented } from '../documented.ts';
import { engineError } from '../fake-engine.ts';

const PATH = '/v1alpha1/comments:analyze';
const KEY = 'AIza-marked';
/** Stands in bad bodies, and nowhere in an answer or a log. */
const MARK = 'Qzxv-marked';

type Settings = Parameters<typeof buildTestApp>[0];
type Dependencies = Parameters<typeof buildTestApp>[1];

interface Body {
  readonly attributeScores?: Record<
    string,
    { summaryScore?: { value: number }; spanScores?: { begin: number; end: number; score: { value: number } }[] }
  >;
  readonly languages?: string[];
  readonly detectedLanguages?: string[];
  readonly clientToken?: string;
  readonly error?: { code: number; message: string; status: string; details?: Record<string, unknown>[] };
}

async function perspective(settings: Settings = {}, dependencies: Dependencies = {}) {
  const test = await buildTestApp(settings, dependencies);
  async function ask(body: unknown, { path = PATH, headers = {} }: { path?: string; headers?: object } = {}) {
    const answer = await test.app.inject({
      method: 'POST',
      url: `${path}?key=${KEY}`,
      headers: { 'content-type': 'application/json', ...headers },
      payload: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body),
    });
    assertDocumented(answer, 'POST', path);
    assert.equal(test.log.text().includes(KEY), false);
    return { status: answer.statusCode, body: JSON.parse(answer.body) as Body, raw: answer };
  }
  return { ...test, ask };
}

const comment = (text: string) => ({ comment: { text }, requestedAttributes: { TOXICITY: {} } });

describe('comments:analyze', () => {
  it('scores the comment as a whole, and gives that as its only span', async () => {
    const { ask, log, engine } = await perspective();
    const { body } = await ask({ ...comment('so rude 👍'), languages: ['en'], clientToken: 'abc' });
    assert.deepEqual(body, {
      attributeScores: {
        TOXICITY: {
          spanScores: [{ begin: 0, end: 10, score: { value: 0.9, type: 'PROBABILITY' } }],
          summaryScore: { value: 0.9, type: 'PROBABILITY' },
        },
      },
      languages: ['en'],
      clientToken: 'abc',
    });
    assert.deepEqual(engine.seen[0]?.texts, ['so rude 👍']);
    const [line] = log.requests();
    assert.deepEqual([line?.route, line?.model, line?.texts], ['/v1alpha1/comments:analyze', 'gated', 1]);
  });

  it('scores sentences in the same call, as UTF-16 spans of the text that was sent', async () => {
    const { ask, engine, metrics } = await perspective();
    const text = ' 👍👍 rude one!  Kind e\u0301te\u0301.\n';
    const { body } = await ask({ ...comment(text), spanAnnotations: true });
    const spans = body.attributeScores?.TOXICITY?.spanScores ?? [];
    assert.deepEqual(
      spans.map(({ begin, end, score }) => [text.slice(begin, end), score.value]),
      [
        ['👍👍 rude one!', 0.9],
        ['Kind e\u0301te\u0301.', 0.2],
      ],
    );
    assert.deepEqual(engine.seen.length, 1);
    // One comment was classified, whatever its number of sentences.
    assert.match(await metrics.expose(), /dslora_predictions_total\{model="gated",label="OFF"\} 1\n/);
  });

  it('leaves a sentence out that leaves nothing to read', async () => {
    const { ask, engine } = await perspective();
    engine.failure = engineError('empty_after_normalization', 2);
    const { status, body } = await ask({ ...comment('So rude. Really.'), spanAnnotations: true });
    assert.equal(status, 200);
    assert.deepEqual(
      body.attributeScores?.TOXICITY?.spanScores?.map(({ begin, end }) => [begin, end]),
      [[0, 8]],
    );
    engine.failure = engineError('inference_failed', 2);
    assert.equal((await ask({ ...comment('So rude. Really.'), spanAnnotations: true })).status, 503);
  });

  it('bounds the work that sentences are', async () => {
    const { ask, engine } = await perspective();
    const text = 'Rude. '.repeat(3_000);
    const { body } = await ask({ ...comment(text), spanAnnotations: true });
    const spans = body.attributeScores?.TOXICITY?.spanScores ?? [];
    assert.ok(spans.length > 50 && spans.length <= 100, String(spans.length));
    assert.ok((engine.seen[0]?.texts.length ?? 0) <= 101);
    assert.equal(spans.at(-1)?.end, text.trimEnd().length);
  });

  it('leaves out scores below a threshold', async () => {
    const { ask } = await perspective();
    const above = { ...comment('rude'), requestedAttributes: { TOXICITY: { scoreThreshold: 0.9 } } };
    assert.equal((await ask(above)).body.attributeScores?.TOXICITY?.summaryScore?.value, 0.9);
    const below = { ...comment('Rude. So rude.'), requestedAttributes: { TOXICITY: { scoreThreshold: 0.901 } } };
    assert.deepEqual((await ask({ ...below, spanAnnotations: true })).body.attributeScores, { TOXICITY: {} });
  });

  it('sums the probabilities of the labels that mean an attribute', async (t) => {
    const { ask, engine } = await perspective();
    useModel(t, engine, 'plain');
    const { body } = await ask({
      comment: { text: 'rude' },
      requestedAttributes: { TOXICITY: {}, INSULT: {}, 'IDENTITY_ATTACK@2': {} },
    });
    assert.deepEqual(
      Object.entries(body.attributeScores ?? {}).map(([name, { summaryScore }]) => [name, summaryScore?.value]),
      [
        ['TOXICITY', 0.7],
        ['INSULT', 0.35],
        ['IDENTITY_ATTACK@2', 0.35],
      ],
    );
  });

  it("takes the operator's mapping in place of the manifest's", async () => {
    const attributes = createAttributes(new Map([['gated', { OFF: { perspective: ['THREAT'] } }]]));
    const { ask } = await perspective({}, { attributes });
    const scored = await ask({ comment: { text: 'rude' }, requestedAttributes: { THREAT: {} } });
    assert.equal(scored.body.attributeScores?.THREAT?.summaryScore?.value, 0.9);
    assert.equal((await ask(comment('rude'))).status, 400);
  });

  it('answers an attribute that is not scored with the language error, or drops it on request', async () => {
    const { ask } = await perspective();
    const request = { comment: { text: 'rude' }, requestedAttributes: { TOXICITY: {}, THREAT: {} }, languages: ['en'] };
    const { status, body } = await ask(request);
    assert.equal(status, 400);
    assert.deepEqual(body.error, {
      code: 400,
      message: 'Attribute THREAT does not support request languages: en',
      status: 'INVALID_ARGUMENT',
      details: [
        {
          '@type': 'type.googleapis.com/google.commentanalyzer.v1alpha1.Error',
          errorType: 'LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE',
          languageNotSupportedByAttributeError: { requestedLanguages: ['en'], attribute: 'THREAT' },
        },
      ],
    });
    const dropped = await ask({ ...request, dropUnsupportedAttributes: true });
    assert.deepEqual(Object.keys(dropped.body.attributeScores ?? {}), ['TOXICITY']);
  });

  it('takes languages as the client says, else as detected', async () => {
    const { ask } = await perspective({}, { detectLanguage: (text) => (text.includes('bonjour') ? 'fr' : undefined) });
    for (const languages of [['en'], ['EN'], ['en-GB'], undefined]) {
      assert.deepEqual((await ask({ ...comment('rude'), languages })).body.languages, languages ?? ['en']);
    }
    const told = await ask({ ...comment('bonjour'), languages: ['en'] });
    assert.deepEqual([told.body.languages, told.body.detectedLanguages], [['en'], ['fr']]);
    const detected = (await ask(comment('bonjour'))).body.error;
    assert.equal(detected?.message, 'Attribute TOXICITY does not support request languages: fr');
    assert.deepEqual(detected?.details?.[0]?.languageNotSupportedByAttributeError, {
      detectedLanguages: ['fr'],
      attribute: 'TOXICITY',
    });
    assert.equal((await ask(comment('b\u200bonjour'))).status, 400, 'disguises are undone first');
    const mixed = await ask({ ...comment('rude'), languages: ['en', 'th'] });
    assert.equal(mixed.body.error?.message, 'Attribute TOXICITY does not support request languages: en, th');
  });

  it('reads what the JSON form of protocol buffers allows, and a body that is not said to be JSON', async () => {
    const { app, ask } = await perspective();
    const snake = await ask({
      comment: { text: 'rude', type: null },
      requested_attributes: { TOXICITY: { score_threshold: 0.5 } },
      span_annotations: true,
      client_token: null,
      languages: null,
    });
    assert.equal(snake.body.attributeScores?.TOXICITY?.summaryScore?.value, 0.9);
    const payload = JSON.stringify(comment('rude'));
    assert.equal((await app.inject({ method: 'POST', url: PATH, payload })).statusCode, 200);
    const curl = { 'content-type': 'application/x-www-form-urlencoded' };
    assert.equal((await app.inject({ method: 'POST', url: PATH, payload, headers: curl })).statusCode, 200);
  });

  const BAD: Readonly<Record<string, readonly [body: unknown, message: RegExp, errorType?: string]>> = {
    'an empty object': [{}, /^Comment must be non-empty/, 'COMMENT_EMPTY'],
    'no text': [{ ...comment(''), comment: {} }, /^Comment must be non-empty/, 'COMMENT_EMPTY'],
    'no attributes': [{ comment: { text: MARK } }, /^Missing requested_attributes/, 'NO_REQUESTED_ATTRIBUTES'],
    'more than 20 KB': [comment('é'.repeat(10_241)), /^Comment text too long/, 'COMMENT_TOO_LONG'],
    'an unknown attribute': [
      { comment: { text: MARK }, requestedAttributes: { NICENESS: {} } },
      /^Unknown requested attribute: NICENESS/,
      'INVALID_REQUEST',
    ],
    'a text in place of an attribute': [
      { comment: { text: MARK }, requestedAttributes: { [`${MARK} says`]: {} } },
      /^Unknown requested attribute$/,
      'INVALID_REQUEST',
    ],
    'another score type': [
      { comment: { text: MARK }, requestedAttributes: { TOXICITY: { scoreType: 'PERCENTILE' } } },
      /^Requested score type PERCENTILE is not supported by attribute TOXICITY/,
      'INVALID_REQUEST',
    ],
    HTML: [{ ...comment(MARK), comment: { text: MARK, type: 'HTML' } }, /only 'PLAIN_TEXT'/, 'INVALID_REQUEST'],
    'two contexts': [
      { ...comment(MARK), context: { entries: [], articleAndParentComment: {} } },
      /^Context can have either/,
      'INVALID_REQUEST',
    ],
    'a text in place of a language': [{ ...comment('a'), languages: [MARK] }, /^languages must/, 'INVALID_REQUEST'],
    'a lone surrogate': [comment('a \ud800'), /lone surrogate/],
    'an unknown field': [{ ...comment('a'), verbose: true }, /Unknown name "verbose": Cannot find field/],
    'a text in place of a field': [{ ...comment('a'), [`${MARK} x`]: 1 }, /Unknown name: Cannot find field/],
    'a number for text': [
      { ...comment('a'), comment: { text: 5 } },
      /^Invalid value at 'comment.text': expected string/,
    ],
    'a word for a threshold': [
      { ...comment('a'), requestedAttributes: { TOXICITY: { scoreThreshold: MARK } } },
      /^Invalid value at 'requestedAttributes.TOXICITY.scoreThreshold'/,
    ],
    'a list': [[MARK], /must be a JSON object/],
    null: ['null', /must be a JSON object/],
    'an empty body': ['', /^Invalid JSON payload received/],
    'not JSON': [`{"comment": {"text": "${MARK}"`, /^Invalid JSON payload received\.$/],
    'not UTF-8': [Buffer.from(`{"comment":{"text":"${MARK}\u00e9"}}`, 'latin1'), /UTF-8/],
  };
  for (const [name, [request, message, errorType]] of Object.entries(BAD)) {
    it(`answers ${name} with what is wrong, and repeats no text`, async () => {
      const { ask, engine, log } = await perspective();
      if (name === 'a lone surrogate') engine.failure = engineError('invalid_unicode', 0);
      const { status, body, raw } = await ask(request);
      assert.deepEqual([status, body.error?.code, body.error?.status], [400, 400, 'INVALID_ARGUMENT'], raw.body);
      assert.match(body.error?.message ?? '', message);
      assert.equal(body.error?.details?.[0]?.errorType, errorType);
      assert.equal(raw.body.includes(MARK), false);
      assert.equal(log.text().includes(MARK), false);
    });
  }

  it('takes a comment of 20 KB', async () => {
    const { ask } = await perspective();
    assert.equal((await ask(comment('a'.repeat(20_480)))).status, 200);
  });

  it('answers what is no request of the protocol in its shape', async () => {
    const { app, engine, ask } = await perspective({ bodyLimitBytes: 1_024 });
    for (const [method, url, status] of [
      ['POST', '/v1alpha1/comments:delete', 'NOT_FOUND'],
      ['GET', '/v1alpha1', 'NOT_FOUND'],
      ['GET', '/$discovery/rest', 'NOT_FOUND'],
      ['GET', '/$discovery/rest?version=v1', 'NOT_FOUND'],
    ] as const) {
      const answer = await app.inject({ method, url });
      assert.deepEqual([answer.statusCode, (answer.json() as Body).error?.status], [404, status], `${method} ${url}`);
    }
    const read = await app.inject(PATH);
    assert.deepEqual([read.statusCode, read.headers.allow, (read.json() as Body).error?.code], [405, 'POST', 405]);
    const large = await ask(comment('a'.repeat(2_000)));
    assert.match(large.body.error?.message ?? '', /^Request payload size exceeds the limit/);
    for (const [code, status, name] of [
      ['overloaded', 429, 'RESOURCE_EXHAUSTED'],
      ['shutting_down', 503, 'UNAVAILABLE'],
      ['inference_failed', 503, 'UNAVAILABLE'],
      ['deadline_exceeded', 504, 'DEADLINE_EXCEEDED'],
    ] as const) {
      engine.failure = engineError(code);
      const { body, raw } = await ask(comment('a'));
      assert.deepEqual([body.error?.code, body.error?.status], [status, name]);
      assert.equal(raw.headers['retry-after'], code === 'overloaded' ? '1' : undefined);
    }
  });

  it('is off where COMPAT leaves it out', async () => {
    const { app } = await buildTestApp({ compat: ['openai'] });
    const answer = await app.inject({ method: 'POST', url: PATH, payload: comment('a') });
    assert.equal(answer.statusCode, 404);
    assert.match(String(answer.headers['content-type']), /^application\/problem\+json/);
  });
});

describe('any body for comments:analyze', () => {
  it('has an answer in the shape of Google, and never an error of the server', async () => {
    const { ask } = await perspective();
    const odd = fc.jsonValue();
    const near = fc.record(
      {
        comment: fc.oneof(fc.record({ text: fc.oneof(fc.string({ unit: 'binary' }), odd), type: odd }), odd),
        requestedAttributes: fc.oneof(
          fc.dictionary(fc.oneof(fc.constantFrom('TOXICITY', 'THREAT', '__proto__'), fc.string()), odd),
          fc.constant({ TOXICITY: {} }),
          odd,
        ),
        languages: fc.oneof(fc.array(fc.constantFrom('en', 'de-CH', 'x')), odd),
        spanAnnotations: fc.oneof(fc.boolean(), odd),
        context: odd,
        other: odd,
      },
      { requiredKeys: [] },
    );
    await fc.assert(
      fc.asyncProperty(fc.oneof({ weight: 4, arbitrary: near }, { weight: 1, arbitrary: odd }), async (given) => {
        for (const path of [PATH, '/v1alpha1/comments:suggestscore']) {
          const { status, raw } = await ask(given, { path });
          assert.ok(status < 500 || status === 501, raw.body);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('may be nested without end', async () => {
    const { ask } = await perspective();
    const { status } = await ask(`{"context":${'{"entries":['.repeat(20_000)}${']}'.repeat(20_000)}}`);
    assert.equal(status, 400);
  });
});

describe('comments:suggestscore', () => {
  const path = '/v1alpha1/comments:suggestscore';
  const suggestion = { comment: { text: 'rude' }, attributeScores: { TOXICITY: { summaryScore: { value: 0 } } } };

  function memory() {
    const records: object[] = [];
    let full = false;
    const feedback = {
      append: async (record: object) => {
        if (!full) records.push(record);
        return !full;
      },
    };
    function fill(): void {
      full = true;
    }
    return { feedback, records, fill };
  }

  it('is off without the two settings', async () => {
    const { feedback, records } = memory();
    for (const [settings, dependencies] of [
      [{ adminKey: KEY }, {}],
      [{}, { feedback }],
    ] as const) {
      const { ask } = await perspective(settings, dependencies);
      const { status, body } = await ask(suggestion, { path });
      assert.deepEqual([status, body.error?.status], [501, 'UNIMPLEMENTED']);
    }
    assert.deepEqual(records, []);
  });

  it('keeps what the holder of the key suggests', async () => {
    const { feedback, records } = memory();
    const { ask } = await perspective({ adminKey: KEY }, { feedback });
    const { body } = await ask({ ...suggestion, clientToken: 'c', languages: ['en'] }, { path });
    assert.deepEqual(body, { clientToken: 'c', requestedLanguages: ['en'] });
    const [{ receivedAt: _, ...kept } = { receivedAt: '' }] = records as { receivedAt: string }[];
    assert.deepEqual(kept, { model: 'gated@1.2.3', ...suggestion, clientToken: 'c', languages: ['en'] });
  });

  it('keeps nothing without the key, from nobody else, and nothing that suggests nothing', async () => {
    const { feedback, records, fill } = memory();
    const { ask, app } = await perspective({ adminKey: 'another' }, { feedback });
    assert.equal(
      (await ask(suggestion, { path })).body.error?.message,
      'API key not valid. Please pass a valid API key.',
    );
    const without = await app.inject({ method: 'POST', url: path, payload: suggestion });
    assertDocumented(without, 'POST', path);
    assert.equal(without.statusCode, 403);
    const holder = await perspective({ adminKey: KEY }, { feedback });
    for (const attributeScores of [undefined, {}, { TOXICITY: {} }, { TOXICITY: { summaryScore: {} } }]) {
      assert.equal((await holder.ask({ ...suggestion, attributeScores }, { path })).status, 400);
    }
    assert.deepEqual(records, []);
    fill();
    const full = await holder.ask(suggestion, { path });
    assert.deepEqual([full.status, full.body.error?.status], [429, 'RESOURCE_EXHAUSTED']);
  });
});

describe('the discovery document', () => {
  async function rootUrl(settings: Settings, host: string): Promise<[number, unknown]> {
    const { app } = await perspective(settings);
    const answer = await app.inject({ url: '/$discovery/rest?version=v1alpha1', headers: { host } });
    assertDocumented(answer, 'GET', '/$discovery/rest');
    return [answer.statusCode, (answer.json() as { rootUrl?: string }).rootUrl];
  }

  it('says where the service is: as configured, else where the request was sent', async () => {
    assert.deepEqual(await rootUrl({}, 'moderation.example:8080'), [200, 'http://moderation.example:8080/']);
    assert.deepEqual(await rootUrl({}, '[::1]:80'), [200, 'http://[::1]:80/']);
    const publicUrl = 'https://example.org/moderation';
    assert.deepEqual(await rootUrl({ publicUrl }, 'inner'), [200, `${publicUrl}/`]);
  });

  it('repeats nothing that is no name of a host', async () => {
    for (const host of ['a b', 'a/b', 'a@b', '<x>', 'a"', '[::1', 'a:b', `${'a'.repeat(300)}`]) {
      assert.deepEqual(await rootUrl({}, host), [400, undefined], host);
    }
  });
});

/** Makes another model the default one. */
function useModel(t: TestContext, engine: Awaited<ReturnType<typeof buildTestApp>>['engine'], name: string): void {
  const model = engine.find(name);
  t.mock.method(engine, 'defaultModel', () => model);
}
