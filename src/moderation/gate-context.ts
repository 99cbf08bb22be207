/** Gates in context: where a text's gates lie among those of the development split, so that 0.61 means something. */
import type { Manifest } from '../bundle/manifest.ts';
import { roundScore } from './scores.ts';

/** Of the range of a gate, which make the sixth decimal sure. */
const HALVINGS = 24;

type Quantiles = Readonly<Record<string, readonly number[]>>;

/** Percentiles, 0 to 100, one decimal. */
export interface GatePercentiles {
  /** Of the mean over all modules; undefined for a bundle that does not say how means are distributed. */
  readonly mean: number | undefined;
  /** In the order of `manifest.gates`. */
  readonly columns: readonly number[];
}

/** @returns a function of gates in the order of `manifest.gates`; made once a model */
export function gateContext({ gates: columns, distribution }: Manifest): (gates: readonly number[]) => GatePercentiles {
  const percentileIn = (byClass: Quantiles) => {
    const percent = percentBelow(byClass, distribution.classes);
    return (value: number) => Math.round(percent(value) * 10) / 10;
  };
  const ranks = columns.map(({ layer, module }) => {
    const known = distribution.gates.find((gate) => gate.layer === layer && gate.module === module);
    // Checked at load (bundle/consistency.ts).
    if (known === undefined) throw new Error(`The distribution lacks ${layer}/${module}`);
    return percentileIn(known.quantiles);
  });
  const rankOfMean = distribution.meanGate ? percentileIn(distribution.meanGate) : undefined;
  return (gates) => ({
    mean: gates.length === 0 ? undefined : rankOfMean?.(gates.reduce((sum, gate) => sum + gate, 0) / gates.length),
    columns: gates.map((gate, column) => (ranks[column] as (value: number) => number)(gate)),
  });
}

/**
 * The mean gate at a percentile: the inverse of `GatePercentiles.mean`, so that policies and answers agree.
 *
 * @param percentile 0 to 100
 * @returns six decimals; undefined for a model without gates, and where the mean has no percentile
 */
export function meanGateAt({ gates, distribution }: Manifest, percentile: number): number | undefined {
  if (gates.length === 0 || !distribution.meanGate) return undefined;
  const percent = percentBelow(distribution.meanGate, distribution.classes);
  let [below, from] = [0, 1];
  for (let halving = 0; halving < HALVINGS; halving += 1) {
    const middle = (below + from) / 2;
    if (percent(middle) < percentile) below = middle;
    else from = middle;
  }
  return roundScore(from);
}

/**
 * The share of texts below a value, in percent, from quantiles by class.
 *
 * The distribution of all texts is the sum of those of the classes, each weighted by its share of the texts; percentiles
 * themselves must not be averaged. Without counts every class weighs the same.
 */
function percentBelow(byClass: Quantiles, counts?: Readonly<Record<string, number>>): (value: number) => number {
  const classes = Object.entries(byClass).map(([name, quantiles]) => ({
    quantiles,
    weight: counts === undefined ? 1 : (counts[name] ?? 0),
  }));
  const total = classes.reduce((sum, { weight }) => sum + weight, 0);
  return (value) => classes.reduce((sum, { quantiles, weight }) => sum + weight * rank(quantiles, value), 0) / total;
}

/** Percent of a class below the value, linear between percentiles; the middle where several percentiles equal it. */
function rank(quantiles: readonly number[], value: number): number {
  const first = quantiles.findIndex((quantile) => quantile >= value);
  if (first === -1) return 100;
  const upper = quantiles[first] as number;
  if (upper === value) return (first + quantiles.lastIndexOf(value)) / 2;
  if (first === 0) return 0;
  const lower = quantiles[first - 1] as number;
  return first - 1 + (value - lower) / (upper - lower);
}
