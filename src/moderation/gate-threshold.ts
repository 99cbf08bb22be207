/** The mean gate from which on a text counts as unusual, from the development distribution that the bundle brings. */
import type { Manifest } from '../bundle/manifest.ts';

/**
 * A percentile of the mean gate over the texts of the development split.
 *
 * The manifest has the percentiles of each true class; each class counts as often as it occurs.
 *
 * @param percentile 0 to 100
 * @returns undefined for a model without gates, and for a bundle that does not bring the distribution of their mean
 */
export function meanGateAt({ gates, distribution }: Manifest, percentile: number): number | undefined {
  const { classes, meanGate } = distribution;
  if (gates.length === 0 || classes == null || meanGate == null) return undefined;
  const points = Object.entries(meanGate).flatMap(([label, quantiles]) =>
    quantiles.map((value) => ({ value, weight: (classes[label] ?? 0) / quantiles.length })),
  );
  const total = points.reduce((sum, { weight }) => sum + weight, 0);
  let passed = 0;
  for (const { value, weight } of points.sort((one, other) => one.value - other.value)) {
    passed += weight;
    // Weights are sums of fractions: the last of them may fall short of the whole by a rounding error.
    if (passed >= (total * percentile) / 100 - 1e-9) return value;
  }
  return undefined;
}
