/**
 * Writes `src/moderation/evasion/confusables.json`: every character that is read as an ASCII letter and is none.
 *
 *     npm install --no-save decancer@3.3.3 unhomoglyph@1.0.6
 *     npm run confusables              write it; `-- --check` only compares
 *
 * The data is that of two libraries, asked for each code point: unhomoglyph (Unicode TR39, version 13) and, for what is
 * Latin in another dress, decancer, which knows small capitals, squares and circles. Neither is needed while serving.
 * They are no dependencies of the project: decancer is native code for many platforms, and an installation would want
 * the registry to have every one of them.
 */
import { keepGenerated } from './generated-file.ts';

const target = new URL('../src/moderation/evasion/confusables.json', import.meta.url);
const LETTER = /^[A-Za-z]$/;
/** Letters of languages' own spelling, which no one takes for a disguise: Latin-1, Latin Extended-A, letters of Africa. */
const SPELLING = /^[\u00c0-\u017fƁɓƊɗƉɖƐɛƏəƎǝƑƒƔɣƖɩƘƙƆɔƱʊƲʋƳƴ]$/;
/** Latin letters in another dress. Pairs of regional indicators are flags. */
const DRESSED = /^[\p{Script=Latin}\u{1F100}-\u{1F1AC}]$/u;
const NEVER = /^[\p{M}\p{C}\p{Z}\p{N}\p{Regional_Indicator}]$/u;
/** The supplementary multilingual plane ends here; what follows are ideographs. */
const LAST = 0x1ffff;

type Cure = (text: string, options: { retainCapitalization: boolean }) => { toString(): string };
/** Of names, since these packages are not installed where the others are. */
const load = async <T>(name: string): Promise<T> => ((await import(name)) as { default: T }).default;
const decancer = await load<Cure>('decancer');
const unhomoglyph = await load<(text: string) => string>('unhomoglyph');

const options = { retainCapitalization: true };
const byLetter = new Map<string, string>();
for (let code = 0x80; code <= LAST; code++) {
  if (code >= 0xd800 && code <= 0xdfff) continue;
  const character = String.fromCodePoint(code);
  const letter = letterFor(character, (text) => String(decancer(text, options)));
  if (letter !== undefined) byLetter.set(letter, (byLetter.get(letter) ?? '') + character);
}
const table = Object.fromEntries([...byLetter].sort(([one], [other]) => (one < other ? -1 : 1)));
await keepGenerated(target, 'npm run confusables', () => `${JSON.stringify(table, null, 2)}\n`);

function letterFor(character: string, cure: (text: string) => string): string | undefined {
  if (SPELLING.test(character) || NEVER.test(character)) return undefined;
  // A letter with marks of its own (ẹ, ǎ) is spelling too.
  if (/^\p{L}\p{M}+$/u.test(character.normalize('NFD'))) return undefined;
  const prototype = unhomoglyph(character);
  const dressed = DRESSED.test(prototype) ? cure(prototype) : '';
  const letter = [character.normalize('NFKC'), prototype, dressed].find((one) => LETTER.test(one));
  // TR39 has one prototype for l, I and 1.
  return letter === 'l' && /\p{Lu}/u.test(character) ? 'I' : letter;
}
