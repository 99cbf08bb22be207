import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { ClassifyResponse } from '../../src/api/classify-response.ts';
import { buildTestApp } from './build-test-app.ts';
import { assertDocumented } from './documented.ts';
import { engineError } from './fake-engine.ts';

async function explain(body: object) {
  const { classify } = await buildTestApp();
  const answer = assertDocumented(await classify(body), 'POST', '/classify') as ClassifyResponse;
  return {
    ...answer,
    explanations: answer.results.map((result) => ('error' in result ? undefined : result.explanation)),
  };
}

async function problem(body: object, settings = {}) {
  const { classify } = await buildTestApp(settings);
  const answer = await classify(body);
  const { code, pointer, detail } = assertDocumented(answer, 'POST', '/classify') as Record<string, string>;
  return { status: answer.statusCode, code, pointer, detail };
}

describe('explain', () => {
  it('says which words drove the score, where they are and what it cost', async () => {
    const { explanations, timing } = await explain({ text: 'so rude, you', explain: true });
    assert.deepEqual(explanations, [
      {
        offsets: 'utf16',
        passage: { begin: 0, end: 12 },
        offensive: 0.9,
        spans: [
          { begin: 0, end: 2, contribution: 0 },
          { begin: 3, end: 7, contribution: 0.7 },
          { begin: 9, end: 12, contribution: 0 },
        ],
        words: 3,
        variants: 4,
        tokens: 28,
      },
    ]);
    assert.ok((timing.explainMs ?? -1) >= 0);
  });

  it('is absent unless asked for', async () => {
    for (const options of [{}, { explain: false }]) {
      const { explanations, timing } = await explain({ text: 'so rude', ...options });
      assert.deepEqual([explanations, timing.explainMs], [[undefined], undefined]);
    }
  });

  it('counts positions in UTF-16 code units or in code points', async () => {
    const text = '😂 e\u0301 rude';
    const places = async (offsets: string) =>
      (await explain({ text, explain: { offsets } })).explanations[0]?.spans.map(({ begin, end }) => [begin, end]);
    assert.deepEqual(await places('utf16'), [
      [0, 2],
      [3, 5],
      [6, 10],
    ]);
    assert.deepEqual(await places('codePoints'), [
      [0, 1],
      [2, 4],
      [5, 9],
    ]);
  });

  it('tells apart as many words as asked for', async () => {
    const { explanations } = await explain({ text: 'a b c rude', explain: { words: 2 } });
    assert.deepEqual(
      explanations[0]?.spans.map(({ begin, end, contribution }) => [begin, end, contribution]),
      [
        [0, 3, 0],
        [4, 10, 0.7],
      ],
    );
  });

  it('is refused for more texts than may be explained, and where it is switched off', async () => {
    assert.deepEqual(await problem({ texts: Array(5).fill('rude'), explain: true }), {
      status: 400,
      code: 'too_many_to_explain',
      pointer: undefined,
      detail: 'At most 4 texts with `explain`.',
    });
    assert.equal((await problem({ text: 'rude', explain: true }, { explainTexts: 0 })).code, 'too_many_to_explain');
  });

  it('has options with clear limits', async () => {
    for (const [value, code, pointer] of [
      ['yes', 'invalid_option', '/explain'],
      [null, 'invalid_option', '/explain'],
      [{ words: 0 }, 'invalid_option', '/explain'],
      [{ words: 65 }, 'invalid_option', '/explain'],
      [{ offsets: 'bytes' }, 'invalid_option', '/explain'],
      [{ depth: 1 }, 'invalid_option', '/explain'],
    ] as const) {
      const found = await problem({ text: 'rude', explain: value });
      assert.deepEqual([found.status, found.code, found.pointer], [400, code, pointer], JSON.stringify(value));
    }
  });

  it('explains the texts that have an answer', async () => {
    const { classify, engine } = await buildTestApp();
    engine.failure = engineError('empty_after_normalization', 0);
    const answer = await classify({ texts: ['?', 'rude one'], explain: true, onError: 'item' });
    const { results } = assertDocumented(answer, 'POST', '/classify') as ClassifyResponse;
    assert.deepEqual(
      results.map((result) => ('error' in result ? result.error.code : result.explanation?.words)),
      ['empty_after_normalization', 2],
    );
  });
});

describe('gates in context', () => {
  it('come with the percentile of each and of their mean', async () => {
    const { results } = await explain({ text: 'kind', gates: 'percentiles' });
    const [result] = results;
    assert.ok(result && !('error' in result));
    assert.deepEqual(result.gates, {
      mean: 0.7,
      layers: [
        { layer: 0, query: 0.5, value: 0.7 },
        { layer: 1, value: 0.9 },
      ],
      percentiles: {
        mean: 70,
        layers: [
          { layer: 0, query: 50, value: 70 },
          { layer: 1, value: 90 },
        ],
      },
    });
  });

  it('are null for a model without gates', async () => {
    const { results } = await explain({ text: 'kind', model: 'plain', gates: 'percentiles' });
    assert.ok(results[0] && !('error' in results[0]));
    assert.equal(results[0].gates, null);
  });
});
