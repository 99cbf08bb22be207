/** The development distribution of a bundle as bins: what a served text is counted into, and what share is expected there. */
import type { Manifest } from '../../bundle/manifest.ts';

/** One number of a text that is followed. */
export interface Column {
  readonly of: 'probability' | 'gate' | 'tokens';
  /** The label of a probability, the layer of a gate; empty for tokens. */
  readonly name: string;
  /** Position in `probabilities` or `gates` of a result. */
  readonly index: number;
  /** n - 1, ascending: a value belongs to the first bin whose edge is above it, else to the last. */
  readonly edges: readonly number[];
  /** n shares that sum to 1. */
  readonly expected: readonly number[];
}

/** A piece of a distribution, and where the next begins; undefined where that is the same value. */
interface Piece {
  readonly weight: number;
  readonly end: number | undefined;
}

/**
 * Bins hold at least this share, so that there are at most ten. More would see smaller changes, and their own noise:
 * the index of two samples of one distribution is about (bins - 1) (1/n + 1/m).
 */
const SHARE = 0.1;
/** Of values: what lies closer together is the same number, rounded by the bundle or by int8 arithmetic. */
const SAME = 1e-5;

/** Columns that the bundle knows only one value of are left out: nothing can be compared with them. */
export function driftColumns({ labels, gates, distribution }: Manifest): readonly Column[] {
  const columns: Column[] = [];
  const add = (column: Omit<Column, 'edges' | 'expected'>, pieces: readonly Piece[]) => {
    const bins = cut(pieces);
    if (bins.edges.length > 0) columns.push({ ...column, ...bins });
  };
  for (const [index, label] of labels.entries()) {
    const histogram = distribution.probabilities[label];
    if (histogram !== undefined) add({ of: 'probability', name: label, index }, histogramPieces(histogram));
  }
  for (const [index, { layer, module }] of gates.entries()) {
    const known = distribution.gates.find((gate) => gate.layer === layer && gate.module === module);
    if (known !== undefined)
      add({ of: 'gate', name: String(layer), index }, quantilePieces(known.quantiles, distribution.classes));
  }
  add({ of: 'tokens', name: '', index: 0 }, histogramPieces(distribution.tokens));
  return columns;
}

/** The bin that a value belongs to. */
export function binOf({ edges }: Column, value: number): number {
  let bin = 0;
  while (bin < edges.length && value >= (edges[bin] as number)) bin++;
  return bin;
}

/** Where to cut so that each bin holds its share, never between equal values. */
function cut(pieces: readonly Piece[]): Pick<Column, 'edges' | 'expected'> {
  const total = pieces.reduce((sum, { weight }) => sum + weight, 0);
  const edges: number[] = [];
  const shares: number[] = [];
  let held = 0;
  let left = total;
  for (const { weight, end } of total > 0 ? pieces : []) {
    held += weight;
    left -= weight;
    if (end === undefined || held < SHARE * total || left < SHARE * total) continue;
    edges.push(end);
    shares.push(held);
    held = 0;
  }
  const counts = [...shares, held];
  return { edges, expected: counts.map((count) => count / total) };
}

function histogramPieces({ edges, counts }: Manifest['distribution']['tokens']): Piece[] {
  return counts.map((weight, k) => ({ weight, end: edges[k + 1] }));
}

/**
 * The percentiles of all classes, each standing for a hundredth of its class, and the outermost for half of one.
 * Without counts every class weighs the same.
 */
function quantilePieces(
  byClass: Readonly<Record<string, readonly number[]>>,
  counts: Readonly<Record<string, number>> | undefined,
): Piece[] {
  const points = Object.entries(byClass)
    .flatMap(([name, quantiles]) => {
      const weight = counts === undefined ? 1 : (counts[name] ?? 0);
      return quantiles.map((value, percent) => ({ value, weight: percent % 100 === 0 ? weight / 2 : weight }));
    })
    .sort((one, other) => one.value - other.value);
  return points.map(({ value, weight }, k) => {
    const next = points[k + 1]?.value;
    return { weight, end: next === undefined || next - value < SAME ? undefined : (value + next) / 2 };
  });
}
