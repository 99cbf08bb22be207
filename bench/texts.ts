/**
 * Posts to measure with: of our own making, with the length mix of OLID (mean 40 tokens, a long tail to the right).
 * Words are common English ones, so nearly every word is one token.
 */
import { createRandom } from './random.ts';

const WORDS =
  'the of and to in is you that it he was for on are as with his they at be this have from or one had by but not what ' +
  'all were we when your can said there use an each which she do how their if will up other about out many then them ' +
  'these so some her would make like him into time has look two more write go see number no way could people my than ' +
  'first water been call who oil its now find long down day did get come made may part';

const MENTIONS = ['@user', '@USER', '@someone'];
const TAILS = ['', '', '', '!!!', ' URL', ' 😂', ' #news', ' 🤔🤔'];

/** Natural logarithm of a text's words: OLID's tweets, seen at 40 tokens on average. */
const LOG_MEAN = 3.4;
const LOG_DEVIATION = 0.5;
const WORDS_AT_MOST = 100;

/** @returns the same texts for the same seed */
export function syntheticTexts(count: number, seed = 1): string[] {
  const random = createRandom(seed);
  const pick = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)] as T;
  const words = WORDS.split(' ');
  return Array.from({ length: count }, () => {
    const gauss = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const length = Math.max(2, Math.min(WORDS_AT_MOST, Math.round(Math.exp(LOG_MEAN + LOG_DEVIATION * gauss))));
    const body = Array.from({ length }, () => pick(words)).join(' ');
    return `${pick(MENTIONS)} ${body}${pick(TAILS)}`;
  });
}

/** One text of so many characters: what a client sends that posts whole pages. */
export function longText(characters: number, seed = 1): string {
  const random = createRandom(seed);
  const words = WORDS.split(' ');
  let text = '';
  while (text.length < characters) text += `${words[Math.floor(random() * words.length)]} `;
  return text.slice(0, characters);
}

/**
 * One text of about so many tokens: words are added while it stays within.
 *
 * @param count tokens of a text, as the service counts them
 */
export function textOfTokens(tokens: number, seed: number, count: (text: string) => number): string {
  const random = createRandom(seed);
  const words = WORDS.split(' ');
  let text = words[Math.floor(random() * words.length)] as string;
  for (;;) {
    const longer = `${text} ${words[Math.floor(random() * words.length)]}`;
    if (count(longer) > tokens) return text;
    text = longer;
  }
}

/** The words of a text in another order: another text, of the same length. */
export function shuffledWords(text: string, random: () => number): string {
  return shuffled(text.split(' '), random).join(' ');
}

/** Fisher and Yates' shuffle, of a copy. */
export function shuffled<T>(values: readonly T[], random: () => number): T[] {
  const all = [...values];
  for (let last = all.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [all[last], all[other]] = [all[other] as T, all[last] as T];
  }
  return all;
}
