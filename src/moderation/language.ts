/**
 * Which language a text is in, where that is clear. Offline, from n-gram statistics (eld, 60 languages).
 *
 * eld's own entry holds the statistics as a JavaScript literal, which takes 90 MB and a quarter of a second; as JSON they
 * take 25 MB. The detector itself is no export of the package, so it is found beside the entry that is one: the version is
 * pinned, and a test holds the answers to those of that entry.
 */
import { readFile } from 'node:fs/promises';

interface Detector {
  detect(text: string): { readonly language: string; isReliable(): boolean };
}

interface DetectorModule {
  createEld(): { readonly instance: Detector; loadData(data: unknown): void };
}

const location = new URL('../languageDetector.js', import.meta.resolve('eld/extrasmall'));
const { createEld } = (await import(location.href)) as DetectorModule;
const { instance: eld, loadData } = createEld();
loadData(JSON.parse(await readFile(new URL('./language-ngrams.json', import.meta.url), 'utf8')));

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
