import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { ClassifyResponse, WholeResponse } from '../../src/api/classify-response.ts';
import { buildTestApp } from './build-test-app.ts';
import { assertDocumented, openapi, violations } from './documented.ts';
import { engineError } from './fake-engine.ts';

async function classify(body: object): Promise<WholeResponse> {
  const { classify } = await buildTestApp();
  const answer = await classify(body);
  assert.equal(answer.statusCode, 200, answer.body);
  return assertDocumented(answer, 'POST', '/classify') as WholeResponse;
}

async function classifyOne(body: object) {
  const [result] = (await classify(body)).results;
  assert.ok(result);
  return result;
}

describe('POST /classify', () => {
  it('answers one text with classes, decision, gates by layer and times', async () => {
    assert.deepEqual(await classify({ text: 'how rude' }), {
      model: { name: 'gated', version: '1.2.3' },
      policy: { name: 'default', version: '1' },
      threshold: 0.5,
      results: [
        {
          label: 'OFF',
          score: 0.9,
          offensive: 0.9,
          flagged: true,
          decision: 'block',
          reasons: [{ code: 'block_threshold', model: 'gated', value: 0.9, threshold: 0.9 }],
          evasion: { kinds: {}, folded: false },
          probabilities: { NOT: 0.1, OFF: 0.9 },
          gates: {
            mean: 0.7,
            layers: [
              { layer: 0, query: 0.5, value: 0.7 },
              { layer: 1, value: 0.9 },
            ],
          },
          tokens: 7,
          windows: 1,
        },
      ],
      timing: { queueMs: 0.123, tokenizeMs: 0.1, inferenceMs: 3.2 },
    });
  });

  it('answers several texts in order', async () => {
    const { results } = await classify({ texts: ['rude', 'kind', 'rude again'] });
    assert.deepEqual(
      results.map(({ label }) => label),
      ['OFF', 'NOT', 'OFF'],
    );
  });

  it('takes the model that is named', async () => {
    const { model, results } = await classify({ text: 'rude', model: 'plain' });
    assert.equal(model.name, 'plain');
    assert.deepEqual(Object.keys(results[0]?.probabilities ?? {}), ['normal', 'offensive', 'hate']);
  });

  it('sums all classes that mean offensive, whichever class is most probable', async () => {
    const { label, score, offensive } = await classifyOne({ text: 'rude', model: 'plain' });
    assert.deepEqual({ label, score, offensive }, { label: 'offensive', score: 0.35, offensive: 0.7 });
  });

  it('says null for the gates of a model without gates', async () => {
    assert.equal((await classifyOne({ text: 'kind', model: 'plain' })).gates, null);
    assert.equal((await classifyOne({ text: 'kind', model: 'plain', gates: 'mean' })).gates, null);
  });

  it('gives as much of the gates as is asked for', async () => {
    assert.deepEqual((await classifyOne({ text: 'kind', gates: 'mean' })).gates, { mean: 0.7 });
    assert.equal('gates' in (await classifyOne({ text: 'kind', gates: 'none' })), false);
  });

  it('flags from a number or from the threshold of a use on', async () => {
    const flagged = async (threshold: unknown) => (await classifyOne({ text: 'rude', threshold })).flagged;
    assert.equal(await flagged(0.9), true);
    assert.equal(await flagged(0.900001), false);
    assert.equal(await flagged('high-precision'), true);
    assert.equal((await classify({ text: 'kind', threshold: 'high-recall' })).threshold, 0.2);
    assert.equal((await classifyOne({ text: 'kind', threshold: 0 })).flagged, true);
  });

  it('counts windows, and gives each one when asked', async () => {
    const text = 'rude '.repeat(20);
    const counted = await classifyOne({ text });
    assert.equal(counted.windows, 2);
    assert.equal('windowResults' in counted, false);
    const { windowResults } = await classifyOne({ text, windows: true });
    assert.deepEqual(
      windowResults?.map(({ label, tokens }) => [label, tokens]),
      [
        ['OFF', 5],
        ['NOT', 3],
      ],
    );
  });

  it('lets a text fail alone when asked, in its place, and counts the others', async () => {
    const { classify, engine, metrics } = await buildTestApp();
    engine.failure = engineError('invalid_unicode', 1);
    const answer = await classify({ texts: ['rude', 'bad', 'kind'], onError: 'item' });
    assert.equal(answer.statusCode, 200);
    const { results } = assertDocumented(answer, 'POST', '/classify') as ClassifyResponse;
    assert.deepEqual(
      results.map((result) => ('error' in result ? result.error.code : result.label)),
      ['OFF', 'invalid_unicode', 'NOT'],
    );
    assert.deepEqual(results[1], {
      error: {
        type: 'urn:ds-lora:problem:invalid_unicode',
        title: 'A text is not valid Unicode',
        status: 422,
        code: 'invalid_unicode',
        pointer: '/texts/1',
        remedy: 'Remove lone surrogates; they often come from a text that was cut within an emoji.',
      },
    });
    assert.match(await metrics.expose(), /dslora_predictions_total\{model="gated",label="OFF"\} 1/);
    assert.equal((await classify({ texts: ['rude', 'bad', 'kind'], onError: 'request' })).statusCode, 422);
  });

  it('answers errors of the whole request as such, also when texts fail alone', async () => {
    const { classify } = await buildTestApp();
    assert.equal((await classify({ texts: ['kind'], model: 'nobody', onError: 'item' })).statusCode, 404);
  });

  it('hands on how long the client waits and how urgent it is', async () => {
    const { classify, engine } = await buildTestApp();
    await classify({ text: 'kind', priority: 'bulk' }, { 'x-request-timeout-ms': '800' });
    await classify({ text: 'kind' });
    assert.deepEqual(engine.asked, [
      { timeoutMs: 800, priority: 'bulk' },
      { timeoutMs: undefined, priority: undefined },
    ]);
  });

  it('hands the texts to the engine as they are', async () => {
    const { classify, engine } = await buildTestApp();
    const texts = ['  spaces  ', 'line\nbreak\u0000', 'e\u0301 👩‍👩‍👧', '\ud800'];
    await classify({ texts });
    assert.deepEqual(engine.seen, [{ model: undefined, texts }]);
  });

  it('takes a body with a charset parameter and a byte order mark', async () => {
    const { classify } = await buildTestApp();
    const answer = await classify('\ufeff{"text":"kind"}', { 'content-type': 'application/json; charset="UTF-8"' });
    assert.equal(answer.statusCode, 200);
  });

  it('documents examples that fit their schemas', async () => {
    for (const name of ['ClassifyRequest', 'ClassifyResponse']) {
      const schema = openapi.components.schemas[name] as { examples: unknown[] };
      assert.ok(schema.examples.length > 0);
      for (const example of schema.examples) assert.deepEqual(violations(schema, example), []);
    }
  });
});
