/** Characters that are not seen, within a word or at its end. */
import type { Fold } from './fold.ts';

/** Writing that joins no letters and so needs no joiners; within it an invisible character only cuts a word. */
const WRITING = '\\p{Script=Latin}\\p{Script=Cyrillic}\\p{Script=Greek}\\p{Nd}';
const INVISIBLE =
  '\\u00ad\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200d\\u2060-\\u2065\\u206a-\\u206f\\u3164' +
  '\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb\\u{e0000}-\\u{e0fff}';
/** After a letter, but not before a mark (keycaps) or a letter that is joined. */
const IN_A_WORD = new RegExp(`([${WRITING}]\\p{M}{0,8})[${INVISIBLE}]+(?=[${WRITING}\\p{Zs}\\p{P}]|$)`, 'gu');

export const invisible: Fold = (text, found) =>
  text.replace(IN_A_WORD, (_, letter: string) => {
    found();
    return letter;
  });
