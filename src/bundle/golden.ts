/**
 * The golden vectors of a bundle (docs/bundle.md, "golden.json") and what it means to agree with them.
 *
 * Nothing here runs a model: the engine replays the texts through its real path and hands the outcomes over.
 * No message holds text; items are named by their position.
 */
import { type Static, Type } from 'typebox';

const closed = { additionalProperties: false };
const Numbers = Type.Array(Type.Number());
const Tolerance = Type.Object(
  { probabilities: Type.Number({ minimum: 0 }), gates: Type.Number({ minimum: 0 }) },
  { ...closed, description: 'Largest absolute difference from PyTorch fp32' },
);

const AnsweredItem = Type.Object(
  {
    text: Type.String(),
    normalized: Type.String(),
    windows: Type.Array(
      Type.Object(
        { ids: Type.Array(Type.Integer({ minimum: 0 }), { minItems: 1 }), probabilities: Numbers, gates: Numbers },
        closed,
      ),
      { minItems: 1 },
    ),
    combined: Type.Object({ probabilities: Numbers, gates: Numbers }, closed),
  },
  closed,
);

const RefusedItem = Type.Object(
  {
    text: Type.String(),
    error: Type.Union([Type.Literal('invalid_unicode'), Type.Literal('empty_after_normalization')]),
  },
  closed,
);

export const GoldenSchema = Type.Object(
  {
    tolerance: Type.Record(Type.String(), Tolerance, { description: 'By graph precision' }),
    items: Type.Array(Type.Union([AnsweredItem, RefusedItem]), { minItems: 32 }),
  },
  closed,
);

export type Golden = Static<typeof GoldenSchema>;
export type GoldenItem = Golden['items'][number];

/** What the real path made of one golden text. */
export type Replayed =
  | { readonly error: string }
  | {
      readonly normalized: string;
      readonly windows: readonly {
        readonly ids: ArrayLike<number>;
        readonly probabilities: ArrayLike<number>;
        readonly gates: ArrayLike<number>;
      }[];
      readonly combined: { readonly probabilities: ArrayLike<number>; readonly gates: ArrayLike<number> };
    };

/**
 * Compares one pass over the golden texts with what PyTorch said.
 *
 * @param replayed one outcome for each item, in order
 * @param how names the pass in the problems, e.g. "alone" or "in a mixed batch"
 * @returns problems; empty when everything agrees within the tolerance of `precision`
 */
export function compareGolden(
  golden: Golden,
  precision: string,
  replayed: readonly Replayed[],
  how: string,
): readonly string[] {
  const tolerance = golden.tolerance[precision];
  if (tolerance === undefined) return [`golden.json has no tolerance for precision ${precision}: add one`];
  const problems: string[] = [];
  golden.items.forEach((item, i) => {
    const outcome = replayed[i];
    const problem = outcome === undefined ? 'was not answered' : compareItem(item, outcome, tolerance);
    if (problem !== undefined) problems.push(`golden item ${i} ${how}: ${problem}`);
  });
  return problems;
}

function compareItem(
  item: GoldenItem,
  outcome: Replayed,
  tolerance: { probabilities: number; gates: number },
): string | undefined {
  if ('error' in item || 'error' in outcome) {
    const expected = 'error' in item ? item.error : 'an answer';
    const got = 'error' in outcome ? outcome.error : 'an answer';
    return expected === got ? undefined : `expected ${expected}, got ${got}`;
  }
  if (item.normalized !== outcome.normalized) return 'the text normalises differently from training';
  if (item.windows.length !== outcome.windows.length)
    return `expected ${item.windows.length} windows, got ${outcome.windows.length}`;
  for (const [w, expected] of item.windows.entries()) {
    const got = outcome.windows[w];
    if (got === undefined || !sameIds(expected.ids, got.ids)) return `window ${w} has other token ids than in training`;
    const problem = compareScores(expected, got, tolerance);
    if (problem !== undefined) return `window ${w} ${problem}`;
  }
  const problem = compareScores(item.combined, outcome.combined, tolerance);
  return problem === undefined ? undefined : `the combined answer ${problem}`;
}

type Scores = { readonly probabilities: ArrayLike<number>; readonly gates: ArrayLike<number> };

function compareScores(
  expected: Scores,
  got: Scores,
  tolerance: { probabilities: number; gates: number },
): string | undefined {
  for (const field of ['probabilities', 'gates'] as const) {
    if (expected[field].length !== got[field].length)
      return `has ${got[field].length} ${field}, expected ${expected[field].length}`;
    const difference = largestDifference(expected[field], got[field]);
    // Written so that NaN fails.
    if (!(difference <= tolerance[field]))
      return `differs from PyTorch by ${difference.toPrecision(3)} in ${field}, allowed ${tolerance[field]}`;
  }
  return undefined;
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs((a[i] as number) - (b[i] as number));
    if (!(difference <= largest)) largest = difference;
    if (Number.isNaN(difference)) return Number.NaN;
  }
  return largest;
}

function sameIds(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
