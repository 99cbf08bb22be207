/** The words of a text, as a reader would point at them: what can be taken away from it one by one. */

/** Part of a text, in UTF-16 code units; `end` is not included. */
export interface Span {
  readonly begin: number;
  readonly end: number;
}

/** Whole whatever they are made of: addresses (without the punctuation that follows), placeholders, mentions, hashtags. */
const WHOLE =
  /(?:https?:\/\/|www\.)[^\s<>"]*[^\s<>"\p{P}]\/?|<\p{Ll}+>|(?<![\p{L}\p{M}\p{N}_])(?:@[\p{L}\p{M}\p{N}_]+(?:@[\p{L}\p{N}.-]*[\p{L}\p{N}])?|#[\p{L}\p{M}\p{N}_]+)/giu;
const EMOJI = /\p{Extended_Pictographic}|\p{Regional_Indicator}|\u20e3/u;
const LETTER = /\p{L}/u;
/** Between two parts of a word, or at its end (the first four), these hide or join letters: "f***ing", "a$$", "so-called". */
const JOINS = /^[*$@#!%&+\-_'’.\p{Cf}]$/u;
const CENSORS = /^[*$@#]$/;

/** One locale for every machine; word boundaries hardly depend on it. */
const segmenter = new Intl.Segmenter('en', { granularity: 'word' });

/**
 * Words in their order. Every emoji, address and mention is one word, and a group of signs that stands alone (`:-)`).
 * Punctuation at the edge of a word, and white space, belong to no word.
 */
export function wordsOf(text: string): Span[] {
  const words: Span[] = [];
  let begin = 0;
  for (const match of text.matchAll(WHOLE)) {
    addChunks(text, begin, match.index, words);
    begin = match.index + match[0].length;
    words.push({ begin: match.index, end: begin });
  }
  addChunks(text, begin, text.length, words);
  return words;
}

function addChunks(text: string, begin: number, end: number, words: Span[]): void {
  for (const match of text.slice(begin, end).matchAll(/\S+/g)) {
    const [chunk] = match;
    const chunkBegin = begin + match.index;
    const chunkEnd = chunkBegin + chunk.length;
    // Signs at the edge of something whole do not stand alone.
    const standsAlone = words.at(-1)?.end !== chunkBegin && (chunkEnd < end || end === text.length);
    const signs = !LETTER.test(chunk) && !EMOJI.test(chunk);
    if (standsAlone && signs) words.push({ begin: chunkBegin, end: chunkEnd });
    else addSegments(chunk, chunkBegin, words);
  }
}

function addSegments(chunk: string, offset: number, words: Span[]): void {
  let word: { begin: number; end: number } | undefined;
  /** Whether nothing but joining signs stands between the word and here. */
  let joined = false;
  for (const { segment, index, isWordLike } of segmenter.segment(chunk)) {
    const begin = offset + index;
    const end = begin + segment.length;
    if (EMOJI.test(segment) && !LETTER.test(segment)) {
      words.push({ begin, end });
      word = undefined;
    } else if (isWordLike && word !== undefined && joined) {
      word.end = end;
      joined = false;
    } else if (isWordLike) {
      word = { begin, end };
      joined = false;
      words.push(word);
    } else if (word !== undefined && JOINS.test(segment)) {
      if (CENSORS.test(segment) && word.end === begin) word.end = end;
      joined = true;
    } else {
      word = undefined;
    }
  }
}

/**
 * Neighbouring words taken together, so that there are at most so many groups, of nearly equal size.
 *
 * @param limit at least 1
 */
export function groupWords(words: readonly Span[], limit: number): Span[] {
  if (words.length <= limit) return [...words];
  return Array.from({ length: limit }, (_, group) => {
    const first = words[Math.floor((group * words.length) / limit)] as Span;
    const last = words[Math.floor(((group + 1) * words.length) / limit) - 1] as Span;
    return { begin: first.begin, end: last.end };
  });
}
