/** The length of a text in Unicode code points, which MAX_TEXT_CHARS counts; a string's own length counts UTF-16 code units. */
export function codePoints(text: string): number {
  let count = 0;
  for (const _point of text) count += 1;
  return count;
}
