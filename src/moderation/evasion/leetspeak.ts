/** Digits and signs in the place of letters: "id10t", "sh!t", "a$$". */
import type { Fold } from './fold.ts';

const LETTER_OF: Readonly<Record<string, string>> = {
  '0': 'o',
  '3': 'e',
  '4': 'a',
  '5': 's',
  '6': 'g',
  '7': 't',
  '8': 'b',
  '9': 'g',
  '@': 'a',
  $: 's',
  '€': 'e',
  '£': 'l',
  '!': 'i',
};
const SIGN = '[013456789@$!|€£]';
const TOKEN = new RegExp(`(?<![\\p{L}\\p{N}])(?:[A-Za-z]|${SIGN}){3,}(?![\\p{L}\\p{N}])`, 'gu');
/** Between letters, before them, or a single one after them; `$$` after them is a word's end and `$` is money. */
const DISGUISED = new RegExp(`[A-Za-z]${SIGN}+[A-Za-z]|^${SIGN}{1,2}[A-Za-z]{2}|[A-Za-z]{2}[013457]$|[A-Za-z]\\$\\$+$`);
/** mp3s, iphone7s; 2nd, 30th, 90s, 10am, 5k. */
const NUMBER =
  /^(?:[A-Za-z]+\d+s|\d+(?:st|nd|rd|th|s|am|pm|k|m|mm|cm|km|kg|g|mg|lbs?|ft|in|mph|yo|yrs?|hrs?|mins?|secs?|x|d|p|[kmgt]b|bn))$/i;
const SIGNS = new RegExp(SIGN, 'g');
/** Tried only where a run begins: from each sign of a long run that is not at the end, the time would be its square. */
const LAST_SIGNS = /(?<![!|])[!|]+$/;
/** Read as i and as l. */
const BAR = /[1|]/g;

export const leetspeak: Fold = (text, found) =>
  text.replace(TOKEN, (token) => {
    const end = LAST_SIGNS.exec(token)?.[0] ?? '';
    const word = token.slice(0, token.length - end.length);
    const signs = word.match(SIGNS)?.length ?? 0;
    if (!DISGUISED.test(word) || NUMBER.test(word) || signs > (word.length - signs) * 2) return token;
    found();
    return undo(word) + end;
  });

function undo(word: string): string {
  const letters = word.replace(/[^A-Za-z1|]/g, (sign) => LETTER_OF[sign] ?? sign);
  return letters
    .replace(/[1|]{2}/g, 'll')
    .replace(BAR, (_, at: number, whole: string) => (isL(whole[at - 1], whole[at + 1]) ? 'l' : 'i'));
}

/** What is more frequent in English: after a vowel, before y, and before a vowel where l can begin a syllable, l. */
function isL(before = '', after = ''): boolean {
  if (/[aeiou]/i.test(before) || /y/i.test(after)) return true;
  return (before === '' || /[bcfgkps]/i.test(before)) && /[aeou]/i.test(after);
}
