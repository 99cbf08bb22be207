/** Disguises in a text, and the text with them undone. */
import type { EvasionKind } from './kinds.ts';

export interface Disguises {
  /** How many places of each kind; kinds without any are absent. */
  readonly kinds: Readonly<Partial<Record<EvasionKind, number>>>;
  /** The text itself where nothing was undone. */
  readonly folded: string;
}

/** Undoes one kind of disguise, and calls `found` for each place. */
type Fold = (text: string, found: () => void) => string;

const FOLDS: readonly (readonly [EvasionKind, Fold])[] = [
  [
    'repeated-letters',
    (text, found) =>
      text.replace(/(\p{L})\1{2,}/gu, (_, letter: string) => {
        found();
        return letter;
      }),
  ],
];

export function findDisguises(text: string): Disguises {
  const kinds: Partial<Record<EvasionKind, number>> = {};
  let folded = text;
  for (const [kind, fold] of FOLDS) {
    folded = fold(folded, () => {
      kinds[kind] = (kinds[kind] ?? 0) + 1;
    });
  }
  return { kinds, folded };
}
