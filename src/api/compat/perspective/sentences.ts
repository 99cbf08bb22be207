/** Where the sentences of a text are. Perspective counts in UTF-16 code units, as JavaScript does. */
import type { Span } from '../../../moderation/words.ts';

/**
 * Spans of the original text without the white space around them, in order.
 *
 * @param language BCP 47
 * @param most beyond so many sentences, neighbours share a span
 */
export function sentenceSpans(text: string, language: string, most: number): Span[] {
  const segments = [...new Intl.Segmenter(language, { granularity: 'sentence' }).segment(text)];
  const size = Math.ceil(segments.length / most);
  const groups = Map.groupBy(segments.entries(), ([position]) => Math.floor(position / size));
  return [...groups.values()].flatMap((group) => {
    const begin = group[0]?.[1].index ?? 0;
    const joined = group.map(([, { segment }]) => segment).join('');
    const trimmed = joined.trim();
    const start = begin + joined.length - joined.trimStart().length;
    return trimmed === '' ? [] : [{ begin: start, end: start + trimmed.length }];
  });
}
