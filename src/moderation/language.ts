/** Which language a text is in, where that is clear. Offline, from n-gram statistics (eld, 60 languages). */
import { eld } from 'eld/extrasmall';

/**
 * @param text with its disguises undone: letters cut apart by invisible characters look like a language that has such words
 * @returns an ISO 639-1 code, or undefined when it is not sure
 */
export type DetectLanguage = (text: string) => string | undefined;

/** UTF-16 units that are looked at: enough to be sure, and a bound on what a long text costs. */
const LOOKED_AT = 1_000;

/** Addresses, mentions, hashtags' signs, placeholders and entities are in no language. */
const NO_LANGUAGE = /https?:\/\/\S*|www\.\S*|@[\w.]+|\bURL\b|<\w{1,20}>|&\w{1,10};|#/g;
const LETTERS = /\p{L}/gu;
/** Below it a name or an exclamation decides. */
const FEWEST_LETTERS = 20;

/** docs/evasion.md has how often it is wrong. */
export const detectLanguage: DetectLanguage = (text) => {
  const words = text.slice(0, LOOKED_AT).replace(NO_LANGUAGE, ' ');
  if ((words.match(LETTERS)?.length ?? 0) < FEWEST_LETTERS) return undefined;
  const found = eld.detect(words);
  return found.isReliable() ? found.language : undefined;
};
