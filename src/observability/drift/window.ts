/** The last texts of one model as counts in bins, and how far they are from what was expected. Holds bin numbers, never texts. */
import type { TextResult } from '../../engine/types.ts';
import { binOf, type Column } from './bins.ts';

export interface DriftWindow {
  /** @param now milliseconds that never run backwards */
  add(result: Pick<TextResult, 'probabilities' | 'gates' | 'tokens'>, now: number): void;
  /** Texts in the window, after those that are too old have left it. */
  size(now: number): number;
  /** The population stability index of each column, in their order. */
  indexes(now: number): readonly number[];
}

/**
 * @param texts most of them
 * @param ageMs longest time that one stays
 */
export function createDriftWindow(columns: readonly Column[], texts: number, ageMs: number): DriftWindow {
  const width = columns.length;
  /** A ring: a row of bin numbers for each text, and when it came. */
  const bins = new Uint8Array(texts * width);
  const times = new Float64Array(texts);
  const counts = columns.map(({ expected }) => new Uint32Array(expected.length));
  let first = 0;
  let size = 0;

  function count(row: number, change: 1 | -1): void {
    for (let k = 0; k < width; k++) {
      const column = counts[k] as Uint32Array;
      const bin = bins[row * width + k] as number;
      column[bin] = (column[bin] as number) + change;
    }
  }
  function dropFirst(): void {
    count(first, -1);
    first = (first + 1) % texts;
    size--;
  }
  function dropOld(now: number): void {
    while (size > 0 && now - (times[first] as number) > ageMs) dropFirst();
  }

  return {
    add(result, now) {
      dropOld(now);
      if (size === texts) dropFirst();
      const row = (first + size) % texts;
      for (const [k, column] of columns.entries()) bins[row * width + k] = binOf(column, numberOf(result, column));
      times[row] = now;
      count(row, 1);
      size++;
    },
    size(now) {
      dropOld(now);
      return size;
    },
    indexes(now) {
      dropOld(now);
      return columns.map(({ expected }, k) => stabilityIndex(expected, counts[k] as Uint32Array));
    },
  };
}

function numberOf(
  { probabilities, gates, tokens }: Pick<TextResult, 'probabilities' | 'gates' | 'tokens'>,
  { of, index }: Column,
): number {
  if (of === 'tokens') return tokens;
  // The engine promises as many values as the manifest names.
  return (of === 'gate' ? gates : probabilities)[index] as number;
}

/**
 * The population stability index: sum of (p - e) ln(p / e) over bins, e being expected and p seen. Half a text is added
 * to each bin (Jeffreys), since an empty one would make it infinite.
 */
export function stabilityIndex(expected: readonly number[], counts: ArrayLike<number>): number {
  const bins = expected.length;
  let total = bins / 2;
  for (let bin = 0; bin < bins; bin++) total += counts[bin] as number;
  let sum = 0;
  for (let bin = 0; bin < bins; bin++) {
    const seen = ((counts[bin] as number) + 0.5) / total;
    const due = expected[bin] as number;
    sum += (seen - due) * Math.log(seen / due);
  }
  return sum;
}
