/**
 * WordPiece: the longest piece first, again and again. Gives what the library's own encoder gives, sooner.
 *
 * The library tries every substring of a word, the longest first: for a word of 99 letters that is thousands of long
 * strings a piece, and a text of such words takes seconds. No substring longer than the longest piece can match.
 */
export interface WordPieceModel {
  /** Pieces; those that continue a word begin with `continuing`. */
  readonly pieces: { has(piece: string): boolean; keys(): Iterable<string> };
  readonly unknown: string;
  readonly continuing: string;
  /** Code points beyond which a word is unknown. */
  readonly longestWord: number;
}

/** @returns a function from words to the pieces of all of them, in order */
export function createWordPiece({ pieces, unknown, continuing, longestWord }: WordPieceModel) {
  let longestPiece = 1;
  for (const piece of pieces.keys()) longestPiece = Math.max(longestPiece, piece.length);

  function cut(word: string): readonly string[] {
    const characters = [...word];
    if (characters.length > longestWord) return [unknown];
    const found: string[] = [];
    let start = 0;
    while (start < characters.length) {
      let end = Math.min(characters.length, start + longestPiece);
      let candidate = (start > 0 ? continuing : '') + characters.slice(start, end).join('');
      while (end > start && !pieces.has(candidate)) {
        end--;
        candidate = candidate.slice(0, candidate.length - (characters[end] as string).length);
      }
      if (end === start) return [unknown];
      found.push(candidate);
      start = end;
    }
    return found;
  }

  return (words: readonly string[]): string[] => words.flatMap(cut);
}
