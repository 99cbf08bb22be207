/** A text with parts of it taken away. */
import type { Span } from './words.ts';

const LETTER_OR_DIGIT = /[\p{L}\p{M}\p{N}]/u;
/** Written without spaces between words, so that what comes to stand side by side makes no new word. */
const UNSPACED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
const SPACE = /\s/;

/**
 * Takes spans away. Of two spaces that come to stand side by side one goes too, and a space comes between letters that
 * would make a new word.
 *
 * @param spans ascending, not overlapping, on code point boundaries
 */
export function without(text: string, spans: readonly Span[]): string {
  let kept = '';
  let begin = 0;
  for (const { begin: end, end: next } of [...spans, { begin: text.length, end: text.length }]) {
    kept = join(kept, text.slice(begin, end));
    begin = next;
  }
  return kept;
}

function join(before: string, after: string): string {
  if (after === '') return before;
  const first = String.fromCodePoint(after.codePointAt(0) as number);
  const last = [...before.slice(-2)].at(-1) ?? '';
  if (SPACE.test(first) && (last === '' || SPACE.test(last))) return before + after.slice(1);
  const newWord = LETTER_OR_DIGIT.test(last) && LETTER_OR_DIGIT.test(first);
  return newWord && !(UNSPACED.test(last) && UNSPACED.test(first)) ? `${before} ${after}` : before + after;
}
