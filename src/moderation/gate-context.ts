/** Gates in context: where a text's gates lie among those of the development split, so that 0.61 means something. */
import type { Manifest } from '../bundle/manifest.ts';

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
  const ranks = columns.map(({ layer, module }) => {
    const known = distribution.gates.find((gate) => gate.layer === layer && gate.module === module);
    // Checked at load (bundle/consistency.ts).
    if (known === undefined) throw new Error(`The distribution lacks ${layer}/${module}`);
    return percentileIn(known.quantiles, distribution.classes);
  });
  const rankOfMean = distribution.meanGate ? percentileIn(distribution.meanGate, distribution.classes) : undefined;
  return (gates) => ({
    mean: gates.length === 0 ? undefined : rankOfMean?.(gates.reduce((sum, gate) => sum + gate, 0) / gates.length),
    columns: gates.map((gate, column) => (ranks[column] as (value: number) => number)(gate)),
  });
}

/**
 * The share of texts below a value, in percent, from quantiles by class.
 *
 * The distribution of all texts is the sum of those of the classes, each weighted by its share of the texts; percentiles
 * themselves must not be averaged. Without counts every class weighs the same.
 */
function percentileIn(byClass: Quantiles, counts?: Readonly<Record<string, number>>): (value: number) => number {
  const classes = Object.entries(byClass).map(([name, quantiles]) => ({
    quantiles,
    weight: counts === undefined ? 1 : (counts[name] ?? 0),
  }));
  const total = classes.reduce((sum, { weight }) => sum + weight, 0);
  return (value) => {
    const below = classes.reduce((sum, { quantiles, weight }) => sum + weight * rank(quantiles, value), 0);
    return Math.round((below / total) * 10) / 10;
  };
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
