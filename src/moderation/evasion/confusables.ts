/** Letters of other alphabets and dressed-up ones in the place of ASCII letters (Unicode TR39). */
import table from './confusables.json' with { type: 'json' };
import type { Fold } from './fold.ts';

const LETTER_OF = new Map(
  Object.entries(table).flatMap(([letter, characters]) => [...characters].map((character) => [character, letter])),
);
/** With what leetspeak puts in the place of letters. */
const WORD = /[\p{L}\p{M}0-9@$!|\u2000-\u2bff\u{1d400}-\u{1d7ff}\u{1f100}-\u{1f1ac}]{2,}/gu;
const FOLDED = /^[0-9@$!|]*[A-Za-z][A-Za-z0-9@$!|]*$/;
const NOT_ASCII = /[^\0-\x7f]/;
const ASCII_LETTER = /[A-Za-z]/;
/** Latin letters whatever they look like, so that a word of nothing else is a disguise too. */
const DRESSED = /^[\p{Script=Latin}\p{Script=Common}]+$/u;
const NOT_LATIN = /[^\P{L}\p{Script=Latin}]/gu;

/**
 * A word is undone when it is ASCII letters afterwards and nothing else, and mixed before, or all dressed up.
 * A word in another alphabet is undone only where the text shows no sign of being written in that alphabet.
 */
export const confusables: Fold = (text, found) => {
  if (!NOT_ASCII.test(text)) return text;
  const foreign = hasForeignWriting(text);
  return text.replace(WORD, (word) => {
    if (!NOT_ASCII.test(word)) return word;
    const folded = [...word].map((character) => LETTER_OF.get(character) ?? character).join('');
    if (!FOLDED.test(folded)) return word;
    if (!ASCII_LETTER.test(word) && !DRESSED.test(word) && foreign) return word;
    found();
    return folded;
  });
};

/** Whether a letter is neither Latin nor like it, or no letter is ASCII. */
function hasForeignWriting(text: string): boolean {
  if (!ASCII_LETTER.test(text)) return true;
  return (text.match(NOT_LATIN) ?? []).some((letter) => !LETTER_OF.has(letter));
}
