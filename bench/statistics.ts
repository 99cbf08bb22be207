/** The few statistics that the benchmark reports, each with its definition. */

/** Linear interpolation between order statistics (type 7 of Hyndman and Fan, 1996). @throws RangeError on no values */
export function quantile(values: ArrayLike<number>, q: number): number {
  if (values.length === 0) throw new RangeError('A quantile of no values is asked for');
  const sorted = Float64Array.from(values).sort();
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] as number;
  const high = sorted[Math.ceil(at)] as number;
  return low + (high - low) * (at - Math.floor(at));
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** To one decimal, as reports keep sizes and times. */
export function tenth(value: number): number {
  return Math.round(value * 10) / 10;
}

/** Median, and the smallest and largest value. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spread(values: readonly number[]): Spread {
  return { median: quantile(values, 0.5), min: Math.min(...values), max: Math.max(...values) };
}

export interface Slope {
  /** Units of y a unit of x. */
  readonly slope: number;
  /** 95 % confidence interval of the slope. */
  readonly low: number;
  readonly high: number;
}

/**
 * The slope of y over x by least squares over means of blocks: neighbouring samples of a process's memory are nearly
 * the same sample, and counting each would make the interval far too narrow.
 *
 * @param blocks equal shares of the samples, at least 3
 * @throws RangeError on fewer samples than blocks
 */
export function slopeOf(points: readonly (readonly [x: number, y: number])[], blocks = 10): Slope {
  if (blocks < 3 || points.length < blocks)
    throw new RangeError(`A slope over ${blocks} blocks needs as many samples and 3 blocks, got ${points.length}`);
  const means = Array.from({ length: blocks }, (_, i) => {
    const own = points.slice(Math.floor((i * points.length) / blocks), Math.floor(((i + 1) * points.length) / blocks));
    return [mean(own.map(([x]) => x)), mean(own.map(([, y]) => y))] as const;
  });
  const meanX = mean(means.map(([x]) => x));
  const meanY = mean(means.map(([, y]) => y));
  const squares = means.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  const slope = means.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) / squares;
  const residuals = means.reduce((sum, [x, y]) => sum + (y - meanY - slope * (x - meanX)) ** 2, 0);
  const error = Math.sqrt(residuals / (blocks - 2) / squares) * studentT975(blocks - 2);
  return { slope, low: slope - error, high: slope + error };
}

/**
 * 97.5 % quantile of Student's t distribution: Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5), off by less
 * than 0.1 % from 5 degrees of freedom on; the first four are the table's.
 */
export function studentT975(freedom: number): number {
  const few = [12.7062, 4.3027, 3.1824, 2.7764][freedom - 1];
  if (few !== undefined) return few;
  const z = 1.959964;
  const g1 = (z ** 3 + z) / 4;
  const g2 = (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96;
  const g3 = (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384;
  return z + g1 / freedom + g2 / freedom ** 2 + g3 / freedom ** 3;
}
