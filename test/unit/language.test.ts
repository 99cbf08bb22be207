import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import { detectLanguage } from '../../src/moderation/language.ts';

const WORDS =
  'the quick answer wir sehen uns morgen mañana estación respuesta быстрый ответ вокзале station früh'.split(' ');

describe('the language detector', () => {
  it('tells languages of posts apart', () => {
    assert.equal(detectLanguage('Thanks for the quick answer, see you tomorrow at the station'), 'en');
    assert.equal(detectLanguage('Danke für die schnelle Antwort, wir sehen uns morgen am Bahnhof'), 'de');
    assert.equal(detectLanguage('Gracias por la respuesta, nos vemos mañana en la estación'), 'es');
    assert.equal(detectLanguage('Спасибо за быстрый ответ, увидимся завтра на вокзале'), 'ru');
  });

  it('looks past mentions, addresses and placeholders', () => {
    const german = '@somebody URL https://example.com/the/quick/answer Wir sehen uns morgen früh am Bahnhof &amp; dann';
    assert.equal(detectLanguage(german), 'de');
  });

  it('is silent on what is too short to tell', () => {
    assert.equal(detectLanguage('lol'), undefined);
    assert.equal(detectLanguage('@the_quick_answer_of_tomorrow https://example.com/thanks'), undefined);
    assert.equal(detectLanguage(''), undefined);
  });

  it('answers as the library does by itself', async () => {
    const { eld } = await import('eld/extrasmall');
    // Above what is too short to tell, and without what is taken out before.
    const words = fc.array(fc.constantFrom(...WORDS), { minLength: 8, maxLength: 20 }).map((some) => some.join(' '));
    fc.assert(
      fc.property(words, (text) => {
        const found = eld.detect(text);
        assert.equal(detectLanguage(text), found.isReliable() ? found.language : undefined);
      }),
    );
  });

  it('never throws', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => void detectLanguage(text)));
  });
});
