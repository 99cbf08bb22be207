/** What answers and decisions are made from: the numbers of a result as a reader sees them. */
import type { Manifest } from '../bundle/manifest.ts';

/** Six decimals: graphs are exact to about 1e-4 to 1e-6, and more digits would only look like knowledge. */
export function roundScore(value: number): number {
  return Math.round(value * 1e6) / 1e6;
}

/** The sum over the labels that mean offensive, rounded, at most 1. */
export function offensiveScore({ labels, positiveLabels }: Manifest, probabilities: readonly number[]): number {
  const sum = labels.reduce(
    (total, label, index) => (positiveLabels.includes(label) ? total + (probabilities[index] as number) : total),
    0,
  );
  return roundScore(Math.min(sum, 1));
}

/** @returns undefined when the model has no such label */
export function labelScore({ labels }: Manifest, probabilities: readonly number[], label: string): number | undefined {
  const probability = probabilities[labels.indexOf(label)];
  return probability === undefined ? undefined : roundScore(probability);
}

/** Over all adapted modules; undefined for a model without gates. */
export function meanGate(gates: readonly number[]): number | undefined {
  return gates.length === 0 ? undefined : roundScore(gates.reduce((sum, gate) => sum + gate, 0) / gates.length);
}
