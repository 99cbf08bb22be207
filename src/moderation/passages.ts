/** A text longer than the model reads, cut into overlapping passages that the model reads at once. */
import type { Span } from './words.ts';

/** Of what fits: tokens are spread unevenly over a text, and a passage should still be one window. */
const FILLED = 0.75;
/** Of a passage, how far the next one lies behind it. */
const STEP = 2 / 3;
/** Of a passage, how far a space is looked for to begin or end at. */
const SEARCH = 1 / 4;

/**
 * @param tokens of the whole text
 * @param fits tokens that the model reads at once
 */
export function passagesOf(text: string, tokens: number, fits: number): Span[] {
  const size = Math.max(1, Math.floor((text.length * fits * FILLED) / tokens));
  const step = Math.max(1, Math.floor(size * STEP));
  const reach = Math.floor(size * SEARCH);
  const passages: Span[] = [];
  for (let from = 0; ; from += step) {
    const begin = from === 0 ? 0 : boundary(text, from, reach);
    if (from + size >= text.length) return [...passages, { begin, end: text.length }];
    passages.push({ begin, end: boundary(text, from + size, reach) });
  }
}

/** Behind the last space in reach, else between two code points. */
function boundary(text: string, position: number, reach: number): number {
  for (let at = position; at > position - reach; at -= 1) {
    if (/\s/.test(text.charAt(at - 1))) return at;
  }
  const insidePair = /[\udc00-\udfff]/.test(text.charAt(position)) && /[\ud800-\udbff]/.test(text.charAt(position - 1));
  return insidePair ? position - 1 : position;
}
