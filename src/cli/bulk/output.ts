/** Where answered rows go: a file that survives a kill, or standard output. */

import type { Cells } from './answer-columns.ts';
import type { Progress } from './journal.ts';
import type { Chunk, Note, RowProblem } from './table.ts';

/** A row without an answer, as a line of the file of bad rows. */
export interface BadRow {
  /** Counted from 1, a header not included. */
  readonly row: number;
  readonly problem: RowProblem;
}

export interface Output {
  /** What is done already. */
  readonly progress: Progress;
  /** @param cells one for each item of the chunk */
  write(chunk: Chunk, cells: readonly (Cells | undefined)[], bad: readonly BadRow[], flagged: number): Promise<void>;
  /** Makes sure that what was written stays. */
  checkpoint(): Promise<void>;
  /** The whole output, under its name. */
  finish(foot: (notes: readonly Note[], offset: number) => Uint8Array): Promise<void>;
  /** Gives everything back that is open; what has been checkpointed stays. */
  close(): Promise<void>;
}

/** @returns the progress after a chunk */
export function advance(
  progress: Progress,
  chunk: Chunk,
  bad: readonly BadRow[],
  written: { readonly bytes: number; readonly badBytes: number; readonly flagged: number },
): Progress {
  const counts = { ...progress.bad };
  for (const { problem } of bad) counts[problem] = (counts[problem] ?? 0) + 1;
  return {
    rows: progress.rows + chunk.items.length,
    input: chunk.end,
    output: progress.output + written.bytes,
    badBytes: progress.badBytes + written.badBytes,
    bad: counts,
    flagged: progress.flagged + written.flagged,
  };
}
