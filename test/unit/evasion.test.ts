import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import { findDisguises } from '../../src/moderation/evasion/fold.ts';
import type { EvasionKind } from '../../src/moderation/evasion/kinds.ts';

/** What is written, and what it says. */
const DISGUISED: readonly [kind: EvasionKind, written: string, says: string, places?: number][] = [
  ['bidi', 'you are \u202elevrams\u202c', 'you are smarvel'],
  ['bidi', '\u202eolleh', 'hello'],
  ['bidi', 'he\u200ello \u2066you\u2069', 'hello you', 3],
  ['invisible', 'he\u200bl\u200dlo', 'hello', 2],
  ['invisible', 'he\u00adllo wo\ufeffrld\u200b', 'hello world', 3],
  ['combining-marks', 'h\u0300\u0301\u0302e\u0308\u0309l\u0310\u0311lo', 'hello'],
  ['combining-marks', 'h\u0336e\u0336l\u0336l\u0336o\u0336', 'hello'],
  ['confusables', 'hеllо', 'hello'],
  ['confusables', 'ＨＥＬＬＯ 𝖍𝖊𝖑𝖑𝖔 ʜᴇʟʟᴏ ⓗⓔⓛⓛⓞ', 'HELLO hello hello hello', 4],
  ['confusables', '🅷🅴🅻🅻🅾', 'hello'],
  ['confusables', 'Іdle', 'Idle'],
  ['confusables', 'so сосо', 'so coco'],
  ['spaced-letters', 'well h e l l o there', 'well hello there'],
  ['spaced-letters', 'h-e-l-l-o h_e_l_l_o h.e.l.l.o', 'hello hello hello', 3],
  ['spaced-letters', 'y o u  t h e r e', 'you  there', 2],
  ['leetspeak', 'h3ll0', 'hello'],
  ['leetspeak', '5o he1p 5illy fi7', '5o help silly fit', 3],
  ['leetspeak', 'h3llo w0rd', 'hello word', 2],
  ['leetspeak', '$illy gla$$ t!me', 'silly glass time', 3],
  ['leetspeak', 'hi11ock b1ack s1ck', 'hillock black sick', 3],
  ['repeated-letters', 'helloooo', 'hello'],
  ['repeated-letters', 'HEYyyy', 'HEY'],
];

const HARMLESS = [
  'Meet me at 10am on the 2nd, or on the 30th; it costs 5k.',
  'covid19, mp3s and iphone7s in the 90s',
  'The U.S.A. and the E.U., e.g. a.m. and p.m.',
  'Is it a or b? I said so.',
  'naïve café, smørrebrød, łódź, Straße, kʼaxkʼ',
  'tiếng Việt có dấu',
  'привет, как дела? Это хорошо.',
  'Καλημέρα, τι κάνεις;',
  'I said привет to him.',
  'مرحبا \u200fكيف حالك\u200f؟',
  'שלום \u2066hello\u2069 לכם',
  'می\u200cخواهم',
  'क्\u200dष',
  '👩‍👩‍👧 ❤️ 1️⃣ 🇺🇸 ™ ℹ️',
  'こんにちは世界、안녕하세요',
  'see https://www.aaab.com/x?y=zzz4you and mail bob@h0st.com',
  '@aaaron and <user> wrote it',
  'Yes! No! (why?) 100% $20 US$',
];

describe('a disguise', () => {
  for (const [kind, written, says, places = 1] of DISGUISED) {
    it(`of ${kind} is found and undone in ${JSON.stringify(written)}`, () => {
      assert.deepEqual(findDisguises(written), { kinds: { [kind]: places }, folded: says });
    });
  }

  it('is found behind another one', () => {
    const { folded, kinds } = findDisguises('h\u200b 3 l l о о о');
    assert.equal(folded, 'hello');
    assert.deepEqual(Object.keys(kinds).sort(), [
      'confusables',
      'invisible',
      'leetspeak',
      'repeated-letters',
      'spaced-letters',
    ]);
  });

  for (const text of HARMLESS) {
    it(`is not seen in ${JSON.stringify(text)}`, () => {
      assert.deepEqual(findDisguises(text), { kinds: {}, folded: text });
    });
  }
});

/** Characters of every kind that a disguise is made of, beside any others. */
const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom(...'aAbl1!|$@0 .-_ооіɪ\u200b\u0301\u0336\u202e\u202c\u2066\ud800é🅷<>#') }),
  fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units)),
);

describe('folding', () => {
  it('never throws, and counts where it changes something', () => {
    fc.assert(
      fc.property(text, (any) => {
        const { folded, kinds } = findDisguises(any);
        const counts = Object.values(kinds);
        assert.ok(counts.every((count) => Number.isInteger(count) && count > 0));
        assert.equal(folded !== any, counts.length > 0);
      }),
      { numRuns: 2_000 },
    );
  });

  it('of what is folded changes nothing', () => {
    fc.assert(
      fc.property(text, (any) => {
        const { folded } = findDisguises(any);
        assert.deepEqual(findDisguises(folded), { kinds: {}, folded });
      }),
      { numRuns: 2_000 },
    );
  });
});
