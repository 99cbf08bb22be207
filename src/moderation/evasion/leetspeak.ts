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
};
const SIGN = '[013456789@$!|€£]';
const TOKEN = new RegExp(`(?<![\\p{L}\\p{N}])(?:[A-Za-z]|${SIGN}){3,}(?![\\p{L}\\p{N}])`, 'gu');
/** Between letters; before them only `$`, after them only `$$`: digits there are numbers and `!` ends a sentence. */
const DISGUISED = new RegExp(`[A-Za-z]${SIGN}+[A-Za-z]|^\\$+[A-Za-z]{2}|[A-Za-z]\\$\\$+$`);
/** mp3s, iphone7s. */
const PLURAL = /^[A-Za-z]+\d+s$/i;
const SIGNS = new RegExp(SIGN, 'g');
const LAST_SIGNS = /[!|]+$/;
/** Both are read as i and as l: l after a consonant that l follows, and before a vowel. */
const BAR = /[1!|]/g;

export const leetspeak: Fold = (text, found) =>
  text.replace(TOKEN, (token) => {
    const end = LAST_SIGNS.exec(token)?.[0] ?? '';
    const word = token.slice(0, token.length - end.length);
    const signs = word.match(SIGNS)?.length ?? 0;
    if (!DISGUISED.test(word) || PLURAL.test(word) || signs > (word.length - signs) * 2) return token;
    found();
    return undo(word) + end;
  });

function undo(word: string): string {
  const letters = word.replace(/[^A-Za-z1!|]/g, (sign) => LETTER_OF[sign] ?? sign);
  return letters
    .replace(/[1!|]{2}/g, 'll')
    .replace(BAR, (_, at: number) =>
      /[bcfgkps]$/i.test(letters.slice(0, at)) && /^[aeou]/i.test(letters.slice(at + 1)) ? 'l' : 'i',
    );
}
