import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import type { Classification, TextOutcome } from '../../src/engine/types.ts';
import { EngineError } from '../../src/engine/types.ts';
import { createExplainer } from '../../src/moderation/explain.ts';
import { passagesOf } from '../../src/moderation/passages.ts';
import { without } from '../../src/moderation/without.ts';
import { groupWords, wordsOf } from '../../src/moderation/words.ts';
import { GATED } from '../api/fake-engine.ts';

const cut = (text: string) => wordsOf(text).map(({ begin, end }) => text.slice(begin, end));

describe('the words of a text', () => {
  for (const [what, text, expected] of [
    ['punctuation at the edge belongs to no word', '“Well, no!” (Really?)', ['Well', 'no', 'Really']],
    [
      'letters hidden behind signs',
      'f***ing a$$ s**t so-called don’t',
      ['f***ing', 'a$$', 's**t', 'so-called', 'don’t'],
    ],
    ['emoji, one by one', '😂😂 👍🏽x👨‍👩‍👧‍👦🇩🇪🇫🇷1️⃣', ['😂', '😂', '👍🏽', 'x', '👨‍👩‍👧‍👦', '🇩🇪', '🇫🇷', '1️⃣']],
    ['combining marks stay with their letter', 'cafe\u0301 nai\u0308ve', ['cafe\u0301', 'nai\u0308ve']],
    ['invisible characters within', 'i\u200bd\u200bea', ['i\u200bd\u200bea']],
    ['addresses without what follows', 'see (https://a.example/b?c=d&e#f).', ['see', 'https://a.example/b?c=d&e#f']],
    [
      'mentions, hashtags and placeholders',
      '@one: @two@host.example #tag! <user>',
      ['@one', '@two@host.example', '#tag', '<user>'],
    ],
    ['signs that stand alone', ':-) <3 !!! 12:30', [':-)', '<3', '!!!', '12:30']],
    ['languages without spaces', '私は学生です。', ['私', 'は', '学生', 'です']],
    ['markup is text', '<b onclick="x()">hi</b>', ['b', 'onclick', 'x', 'hi', 'b']],
    ['nothing', ' \n\t', []],
  ] as const) {
    it(what, () => assert.deepEqual(cut(text), expected));
  }

  it('are taken together where there are too many, all of them and evenly', () => {
    const words = wordsOf('a b c d e f g');
    assert.deepEqual(groupWords(words, 7), words);
    const groups = groupWords(words, 3);
    assert.deepEqual(
      groups.map(({ begin, end }) => 'a b c d e f g'.slice(begin, end)),
      ['a b', 'c d', 'e f g'],
    );
  });
});

describe('a text without a word', () => {
  const lacking = (text: string, word: string) => {
    const begin = text.indexOf(word);
    return without(text, [{ begin, end: begin + word.length }]);
  };

  it('closes the gap', () => {
    assert.equal(lacking('you bad thing', 'bad'), 'you thing');
    assert.equal(lacking('you bad thing', 'you'), 'bad thing');
    assert.equal(lacking('you bad thing', 'thing'), 'you bad ');
    assert.equal(lacking('you, bad!', 'bad'), 'you, !');
  });

  it('makes no new word of what was apart', () => {
    assert.equal(lacking('ab😂cd', '😂'), 'ab cd');
    assert.equal(lacking('私は学生です', '学生'), '私はです');
  });

  it('can lack several', () => {
    const [one, , three] = wordsOf('one two three');
    assert.equal(
      without(
        'one two three',
        [one, three].flatMap((span) => span ?? []),
      ),
      'two ',
    );
  });
});

describe('passages of a long text', () => {
  it('cover all of it, overlap, and begin and end at spaces or between code points', () => {
    for (const text of ['some words of a text '.repeat(200), '😂'.repeat(3000), 'x'.repeat(5000)]) {
      const passages = passagesOf(text, 1000, 126);
      assert.equal(passages[0]?.begin, 0);
      assert.equal(passages.at(-1)?.end, text.length);
      passages.forEach(({ begin, end }, i) => {
        assert.ok(end > begin);
        assert.equal(text.slice(begin, end).isWellFormed(), true);
        const next = passages[i + 1];
        if (next !== undefined) assert.ok(next.begin > begin && next.begin < end);
      });
    }
  });
});

/** Additive: every "bad" adds 0.3 to 0.1, so contributions are known beforehand. A window holds 14 words. */
function additiveEngine() {
  const seen: { texts: readonly string[]; priority: unknown; model: unknown }[] = [];
  const answer = (text: string): TextOutcome => {
    const words = text.split(/\s+/).filter((word) => word !== '');
    if (words.length === 0) return new EngineError('empty_after_normalization', 'empty', { index: 0 });
    if (words.includes('poison')) return new EngineError('quarantined', 'no', { index: 7 });
    const windows = [];
    for (let from = 0; from < words.length; from += 14) {
      const off = Math.min(0.1 + 0.3 * words.slice(from, from + 14).filter((word) => word.startsWith('bad')).length, 1);
      windows.push({
        tokens: 2 + Math.min(14, words.length - from),
        probabilities: [1 - off, off],
        gates: [0.5, 0.5, 0.5],
      });
    }
    const worst = windows.reduce((one, two) => ((two.probabilities[1] ?? 0) > (one.probabilities[1] ?? 0) ? two : one));
    return { ...worst, tokens: 2 + words.length, windows };
  };
  return {
    seen,
    classifyEach: async (request: { texts: readonly string[]; priority?: unknown; model?: unknown }) => {
      seen.push({ texts: request.texts, priority: request.priority, model: request.model });
      const timing = { queueMs: 0, tokenizeMs: 0, inferenceMs: 0 };
      return { model: GATED, results: request.texts.map(answer), timing } satisfies Classification<TextOutcome>;
    },
    answer,
  };
}

async function explainTexts(texts: readonly string[], words = 64) {
  const engine = additiveEngine();
  const explanations = await createExplainer(engine)({
    model: GATED,
    words,
    texts: texts.map((text, i) => {
      const result = engine.answer(text);
      if (result instanceof Error) throw result;
      return { text, result, index: 10 + i };
    }),
  });
  return { engine, explanations };
}

describe('an explanation', () => {
  it('finds what each word adds, from one call for all texts', async () => {
    const { engine, explanations } = await explainTexts(['you bad, thing', 'all well']);
    assert.deepEqual(explanations, [
      {
        passage: { begin: 0, end: 14 },
        offensive: 0.4,
        spans: [
          { begin: 0, end: 3, contribution: 0 },
          { begin: 4, end: 7, contribution: 0 },
          { begin: 9, end: 14, contribution: 0 },
        ].map((span, i) => (i === 1 ? { ...span, contribution: 0.3 } : span)),
        words: 3,
        variants: 4,
        tokens: 18,
      },
      {
        passage: { begin: 0, end: 8 },
        offensive: 0.1,
        spans: [
          { begin: 0, end: 3, contribution: 0 },
          { begin: 4, end: 8, contribution: 0 },
        ],
        words: 2,
        variants: 3,
        tokens: 10,
      },
    ]);
    assert.equal(engine.seen.length, 1);
    // The version that answered, and after everyone who only wants a score.
    assert.deepEqual([engine.seen[0]?.model, engine.seen[0]?.priority], ['gated@1.2.3', 'bulk']);
  });

  it('counts the whole score to an only word', async () => {
    const { explanations } = await explainTexts(['bad']);
    assert.deepEqual(explanations[0]?.spans, [{ begin: 0, end: 3, contribution: 0.4 }]);
  });

  it('takes neighbouring words together beyond the limit', async () => {
    const { explanations } = await explainTexts(['a b c bad'], 2);
    assert.deepEqual(
      explanations[0]?.spans.map(({ contribution }) => contribution),
      [0, 0.3],
    );
    assert.deepEqual([explanations[0]?.words, explanations[0]?.variants], [4, 3]);
  });

  it('explains the worst passage of a text of several windows, with positions in the whole text', async () => {
    const text = `bad ${'fine '.repeat(40)}bad bad ${'fine '.repeat(40)}`;
    const { engine, explanations } = await explainTexts([text]);
    const [found] = explanations;
    assert.ok(found);
    assert.equal(found.offensive, 0.7);
    const driving = found.spans.filter(({ contribution }) => contribution > 0);
    assert.deepEqual(
      driving.map(({ begin, end }) => [begin, text.slice(begin, end)]),
      [
        [text.indexOf('bad bad'), 'bad'],
        [text.indexOf('bad bad') + 4, 'bad'],
      ],
    );
    assert.equal(engine.seen.length, 2);
    assert.equal(found.variants, (engine.seen[0]?.texts.length ?? 0) + (engine.seen[1]?.texts.length ?? 0));
  });

  it('costs no more characters than it may, however long the text is', async () => {
    const text = `${'word '.repeat(10)}${' '.repeat(19_000)}`;
    const { engine } = await explainTexts([text]);
    const characters = engine.seen.flatMap(({ texts }) => texts).reduce((sum, { length }) => sum + length, 0);
    assert.ok(characters <= 200_000, String(characters));
  });

  it('fails as its variants fail, pointing at the text', async () => {
    const engine = additiveEngine();
    const result = engine.answer('fine') as Exclude<TextOutcome, EngineError>;
    await assert.rejects(
      createExplainer(engine)({ model: GATED, words: 9, texts: [{ text: 'poison here', result, index: 3 }] }),
      (error: EngineError) => error.code === 'quarantined' && error.index === 3,
    );
  });
});
