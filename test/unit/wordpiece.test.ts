import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

// The library is the reference here.
import { PreTrainedTokenizer } from '@huggingface/transformers';
import fc from 'fast-check';

import { loadTokenizer } from '../../src/engine/tokenizer.ts';
import { createWordPiece } from '../../src/engine/wordpiece.ts';
import { TINY } from '../fixtures/bundle-copy.ts';

const cut = createWordPiece({
  pieces: new Set(['un', '##aff', '##able', '##a', 'a', 'go', '##😀', '[UNK]']),
  unknown: '[UNK]',
  continuing: '##',
  longestWord: 8,
});

test('the longest piece first', () => {
  assert.deepEqual(cut(['unaffable']), ['[UNK]']);
  assert.deepEqual(cut(['unaaff', 'a', 'go😀']), ['un', '##a', '##aff', 'a', 'go', '##😀']);
});

test('a word is unknown as a whole', () => {
  assert.deepEqual(cut(['unx', 'x', '', 'aaaaaaaa', 'aaaaaaaaa']), [
    '[UNK]',
    '[UNK]',
    'a',
    ...new Array(7).fill('##a'),
    '[UNK]',
  ]);
});

test('gives the ids of the library', async () => {
  const files = ['tokenizer.json', 'tokenizer_config.json'].map((file) => join(TINY, file)) as [string, string];
  const quick = await loadTokenizer(...files);
  const [definition, config] = files.map((file) => JSON.parse(readFileSync(file, 'utf8')));
  const library = new PreTrainedTokenizer(definition, config);
  const words = fc.oneof(
    fc.constantFrom('you', 'idiot', 'idiots', 'zz', '😀', '@user', 'Ünï', '[SEP]', 'дурак', '你', 'y'.repeat(101)),
    fc.string({ unit: fc.constantFrom(...'youidtabc😀'), maxLength: 30 }),
    fc.string({ unit: 'grapheme', maxLength: 10 }),
  );
  fc.assert(
    fc.property(fc.array(words), (parts) => {
      const text = parts.join(' ');
      assert.deepEqual(quick(text), library.encode(text, { add_special_tokens: false }));
    }),
    { numRuns: 300 },
  );
});
