import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';

import { NORMALIZATION_STEPS } from '../../src/bundle/manifest.ts';
import { type NormalizationStep, normalize, STEPS } from '../../src/engine/normalize.ts';

/** By step: what goes in, and what the table of docs/bundle.md makes of it. */
const CASES: Record<NormalizationStep, readonly (readonly [string, string])[]> = {
  'html-entities': [
    ['&amp;lt; &lt;b&gt; &quot;&apos;&#39;&nbsp;.', "&lt; <b> \"'' ."],
    ['&AMP; &#x27; &copy;', '&AMP; &#x27; &copy;'],
  ],
  nfkc: [
    ['ﬁ ｘ ² ①', 'fi x 2 1'],
    ['e\u0301', 'é'],
  ],
  invisible: [
    ['a\u200bb\u00adc\ufe0f\u2066d\u{e0041}', 'abcd'],
    ['tab\t stays \n', 'tab\t stays \n'],
    ['👩\u200d👩', '👩👩'],
  ],
  urls: [
    ['see https://a.example/b?c=d#e now', 'see url now'],
    ['HTTP://A www.b.example/x,', 'url url'],
    ['<url> URL URLs _URL curl', 'url url URLs _URL curl'],
    ['xhttp://a <http://b>', 'xhttp://a <url>'],
    ['http://a\u3000b\u0085c', 'url\u3000b\u0085c'],
    // The i flag would take the long s for an s.
    ['http\u017f://a', 'http\u017f://a'],
  ],
  mentions: [
    ['@a_1 <user> me@b.example @c@d-e.example', '@user @user me@b.example @user'],
    ['@ @é @a@b', '@ @é @user@b'],
  ],
  numbers: [
    ['7 1,000.50 10:30 2024-01-02 1/2', 'number number number number number'],
    ['<number> <percent> <money> <time> <date> <phone>', 'number number number number number number'],
    ['3rd x3 3_ 1.5x 12,34a ٣', '3rd x3 3_ number.5x number,34a ٣'],
  ],
  lowercase: [
    ['ÀÉ ΣΟΦΟΣ İ', 'àé σοφος i\u0307'],
    ['ẞ Ⅷ', 'ß ⅷ'],
  ],
  apostrophes: [
    ["don't it’s ‘quoted’ oʼclock", 'dont its ‘quoted’ oclock'],
    ["don ’ t we  '  ve they ' RE", 'dont weve theyRE'],
    ["rock ' n roll, dogs ' tail, é'a", "rock ' n roll, dogs ' tail, é'a"],
  ],
  punctuation: [
    ['a-b_c! @user @username @user. —…ʼ', 'a b c  @user  username @user     '],
    ['¿é¡ 😀', '¿é¡ 😀'],
  ],
  whitespace: [
    [' a \t\n b\u00a0\u2003c\u3000', 'a b c'],
    ['\u200b \u180e', '\u200b \u180e'],
  ],
};

interface SharedVector {
  readonly case: string;
  readonly steps: readonly NormalizationStep[];
  readonly text: string;
  readonly normalized?: string;
  readonly error?: string;
}

/** Training is held to the same file. */
const shared = JSON.parse(
  readFileSync(new URL('../vectors/normalization.json', import.meta.url), 'utf8'),
) as readonly SharedVector[];

test('agrees with training on the shared vectors', () => {
  for (const { case: name, steps, text, normalized, error } of shared)
    assert.deepEqual(normalize(text, steps), error === undefined ? { text: normalized } : { error }, name);
});

describe('normalisation steps', () => {
  for (const step of NORMALIZATION_STEPS)
    test(step, () => {
      for (const [text, expected] of CASES[step]) assert.equal(STEPS[step](text), expected);
    });

  test('every step is linear in the text', () => {
    const hostile = [
      ' '.repeat(100_000),
      '1,'.repeat(50_000),
      `${'1'.repeat(100_000)}a`,
      '@a'.repeat(50_000),
      `@a@${'b-'.repeat(50_000)}`,
      '<url'.repeat(25_000),
      "' ".repeat(50_000),
      'http:/'.repeat(16_000),
    ];
    for (const step of NORMALIZATION_STEPS)
      for (const text of hostile) {
        const started = performance.now();
        STEPS[step](text);
        const ms = performance.now() - started;
        // A quadratic pattern takes seconds.
        assert.ok(ms < 500, `${step} took ${ms} ms on ${text.slice(0, 5)}…`);
      }
  });
});

describe('normalize', () => {
  test('applies the steps in the order given', () => {
    assert.deepEqual(normalize('&lt;url&gt;', ['html-entities', 'urls']), { text: 'url' });
    assert.deepEqual(normalize('&lt;url&gt;', ['urls', 'html-entities']), { text: '<url>' });
  });

  test('refuses lone surrogates, and nothing left', () => {
    assert.deepEqual(normalize('a\ud800', []), { error: 'invalid_unicode' });
    assert.deepEqual(normalize('\udc00', ['whitespace']), { error: 'invalid_unicode' });
    assert.deepEqual(normalize(' \u200b ', ['invisible', 'whitespace']), { error: 'empty_after_normalization' });
    assert.deepEqual(normalize('', []), { error: 'empty_after_normalization' });
    assert.deepEqual(normalize('😀', []), { text: '😀' });
  });
});
