/** Letters that are held: "idiooot". */
import type { Fold } from './fold.ts';

/** No word of a European language has a letter three times in a row. */
const HELD = /(\p{L})\1{2,}/giu;

export const repeatedLetters: Fold = (text, found) =>
  text.replace(HELD, (_, letter: string) => {
    found();
    return letter;
  });
