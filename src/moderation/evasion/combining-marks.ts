/** Letters under a heap of combining marks ("Zalgo"), and words struck through. */
import type { Fold } from './fold.ts';

const WORD = /[\p{Script=Latin}\p{Script=Cyrillic}\p{Script=Greek}\p{M}]+/gu;
/** Composing is slow on long runs of marks, and what follows the first few changes nothing here. */
const LONG_RUN = /(\p{M}{8})\p{M}+/gu;
const ANY_MARK = /\p{M}/u;
const MARKS = /\p{M}/gu;
const FEWEST = 3;
/** Lines through or around the letter before: U+0334 to U+0338, U+20D0 to U+20F0. */
const OVERLAY = /[\u0334-\u0338\u20d2\u20d3\u20d8-\u20da\u20dd-\u20e0\u20e2-\u20e4\u20e5\u20e6\u20ea\u20eb]/;

/** Marks that make one letter with their base are spelling; a word with more of others than half its letters is none. */
export const combiningMarks: Fold = (text, found) =>
  text.replace(WORD, (word) => {
    if (!ANY_MARK.test(word)) return word;
    const short = word.replace(LONG_RUN, '$1');
    const composed = short.normalize('NFC');
    const loose = composed.match(MARKS)?.length ?? 0;
    const letters = composed.length - loose;
    const spelling = !OVERLAY.test(composed) && (loose < FEWEST || loose * 2 <= letters);
    if (loose === 0 || letters === 0 || spelling) return word;
    found();
    return short.normalize('NFD').replace(MARKS, '');
  });
