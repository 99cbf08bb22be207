/** Words whose letters stand alone: "i d i o t", "i.d.i.o.t". */
import type { Fold } from './fold.ts';

const LETTER = '[\\p{L}0134579@$!]';
const SEPARATOR = '[\\p{Zs}.\\-_*/|·•,~+=]';
/** One separator throughout, so that a wider gap parts words. */
const SPACED = new RegExp(
  `(?<![\\p{L}\\p{N}])${LETTER}(${SEPARATOR})${LETTER}(?:\\1${LETTER})+(?![\\p{L}\\p{N}])`,
  'gu',
);
const LETTERS = /\p{L}/gu;
/** Capitals with points are an abbreviation: U.S.A. */
const ABBREVIATION = /^\p{Lu}\.\p{Lu}\.\p{Lu}$/u;
const FEWEST = 3;

export const spacedLetters: Fold = (text, found) =>
  text.replace(SPACED, (spaced, separator: string) => {
    const word = spaced.split(separator).join('');
    const letters = word.match(LETTERS)?.length ?? 0;
    if (letters < FEWEST || letters * 2 < word.length || ABBREVIATION.test(spaced)) return spaced;
    found();
    return word;
  });
