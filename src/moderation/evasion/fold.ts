/** Disguises in a text, and the text with them undone. */
import { bidi } from './bidi.ts';
import { combiningMarks } from './combining-marks.ts';
import { confusables } from './confusables.ts';
import { invisible } from './invisible.ts';
import type { EvasionKind } from './kinds.ts';
import { leetspeak } from './leetspeak.ts';
import { repeatedLetters } from './repeated-letters.ts';
import { spacedLetters } from './spaced-letters.ts';

export interface Disguises {
  /** How many places of each kind; kinds without any are absent. */
  readonly kinds: Readonly<Partial<Record<EvasionKind, number>>>;
  /** The text itself where nothing was undone. */
  readonly folded: string;
}

/**
 * Undoes one kind of disguise, and calls `found` for each place.
 *
 * Linear in the text, since it runs in the process that answers requests. Never throws, whatever the text.
 */
export type Fold = (text: string, found: () => void) => string;

type Named = readonly [EvasionKind, Fold];

/** What ASCII cannot hold. */
const UNICODE: readonly Named[] = [
  ['bidi', bidi],
  ['invisible', invisible],
  ['combining-marks', combiningMarks],
];
/** Not in names and addresses, which are spelled as they are. */
const SPELLING: readonly Named[] = [
  ['confusables', confusables],
  ['spaced-letters', spacedLetters],
  ['leetspeak', leetspeak],
  ['repeated-letters', repeatedLetters],
];
const ADDRESS = /(https?:\/\/\S+|www\.\S+|[\w.+-]{1,64}@[\w-]+\.[\w.-]+|(?<!\w)@\w+|<\w+>)/i;
const NOT_ASCII = /[^\0-\x7f]/;

/** One disguise can hide another; each round but the last undoes one. */
const ROUNDS = 8;

export function findDisguises(text: string): Disguises {
  const kinds: Partial<Record<EvasionKind, number>> = {};
  const undo = (part: string, folds: readonly Named[]) =>
    folds.reduce(
      (current, [kind, fold]) =>
        fold(current, () => {
          kinds[kind] = (kinds[kind] ?? 0) + 1;
        }),
      part,
    );
  let folded = text;
  for (let round = 0; round < ROUNDS; round++) {
    const before = folded;
    if (NOT_ASCII.test(folded)) folded = undo(folded, UNICODE);
    const parts = folded.split(ADDRESS);
    folded = parts.map((part, index) => (index % 2 === 1 ? part : undo(part, SPELLING))).join('');
    if (folded === before) break;
  }
  return { kinds, folded };
}
