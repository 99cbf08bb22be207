/**
 * Disguises as people write them, put on words of a text; made without looking at how they are undone.
 *
 * Look-alikes are the common ones of other alphabets and fonts, chosen by hand from what posts hold, not from the table
 * that undoes them.
 */
export type Random = () => number;

interface Attack {
  readonly name: string;
  /** Disguises one word of at least three ASCII letters. */
  readonly word: (word: string, random: Random) => string;
}

const pick = <T>(from: readonly T[] | string, random: Random) => from[Math.floor(random() * from.length)] as T;
const letters = (word: string, change: (letter: string) => string) => [...word].map(change).join('');

const LOOK_ALIKES: Readonly<Record<string, string>> = {
  a: 'аɑα',
  b: 'Ьƅ',
  c: 'сϲ',
  d: 'ԁ',
  e: 'еҽ',
  g: 'ɡ',
  h: 'һ',
  i: 'іι',
  j: 'ј',
  k: 'κк',
  l: 'ӏ',
  m: 'м',
  n: 'ո',
  o: 'оοօ',
  p: 'рρ',
  q: 'ԛ',
  r: 'г',
  s: 'ѕ',
  t: 'тτ',
  u: 'υս',
  v: 'ѵν',
  w: 'ԝ',
  x: 'хχ',
  y: 'уү',
};
const SMALL_CAPITALS: Readonly<Record<string, string>> = Object.fromEntries(
  [...'ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ'].map((capital, index) => ['abcdefghijklmnoprstuvwyz'[index] as string, capital]),
);
const LEET: Readonly<Record<string, string>> = {
  a: '4@',
  e: '3',
  i: '1!',
  o: '0',
  s: '5$',
  t: '7',
  l: '1',
  g: '9',
  b: '8',
};
const ZERO_WIDTH = ['\u200b', '\u200c', '\u200d', '\u2060', '\ufeff'];
/** U+0300 to U+036F without the overlays and the grapheme joiner. */
const MARKS = Array.from({ length: 0x33 }, (_, index) => String.fromCodePoint(0x300 + index));
const SEPARATORS = [' ', ' ', '.', '-', '_', '*'];

const capital = (letter: string) => letter.toLowerCase() !== letter;
const instead = (table: Readonly<Record<string, string>>, share: number) => (word: string, random: Random) =>
  letters(word, (letter) => {
    const choices = table[letter.toLowerCase()];
    return choices === undefined || random() >= share ? letter : pick<string>([...choices], random);
  });

export const ATTACKS: readonly Attack[] = [
  { name: 'zero-width', word: (word, random) => [...word].join(pick(ZERO_WIDTH, random)) },
  { name: 'bidi', word: (word) => `\u202e${[...word].reverse().join('')}\u202c` },
  {
    name: 'combining marks',
    word: (word, random) =>
      letters(word, (letter) => letter + Array.from({ length: 3 }, () => pick(MARKS, random)).join('')),
  },
  { name: 'strike-through', word: (word) => letters(word, (letter) => `${letter}\u0336`) },
  { name: 'look-alikes', word: instead(LOOK_ALIKES, 0.5) },
  { name: 'small capitals', word: instead(SMALL_CAPITALS, 1) },
  {
    name: 'squares',
    word: (word) => letters(word, (letter) => String.fromCodePoint(0x1f170 + letter.toLowerCase().charCodeAt(0) - 97)),
  },
  {
    name: 'mathematical',
    word: (word) =>
      letters(word, (letter) =>
        String.fromCodePoint((capital(letter) ? 0x1d56c - 65 : 0x1d586 - 97) + letter.charCodeAt(0)),
      ),
  },
  { name: 'leetspeak', word: instead(LEET, 0.6) },
  { name: 'spaced letters', word: (word, random) => [...word].join(pick(SEPARATORS, random)) },
  {
    name: 'repeated letters',
    word(word, random) {
      const at = Math.floor(random() * word.length);
      return word.slice(0, at) + (word[at] as string).repeat(3 + Math.floor(random() * 4)) + word.slice(at + 1);
    },
  },
];

/** Placeholders of the data set and addresses are not words. */
const WORD = /(?<![@#\w])[A-Za-z]{3,}(?!\w)/g;
const PLACEHOLDER = /^(?:URL|USER)$/;

/** @param share of the words that are disguised, chosen at random */
export function attack(text: string, { word: disguise }: Attack, share: number, random: Random): string {
  return text.replace(WORD, (word) => (PLACEHOLDER.test(word) || random() >= share ? word : disguise(word, random)));
}
