/**
 * What a run knows to be safe, in a file beside the output: JSON Lines, each appended and forced to disk after the rows
 * that it speaks of. A line that a kill cut off does not count.
 */
import type { Note, RowProblem } from './table.ts';

/** What must be the same for a run to go on. Values are compared as JSON. */
export type Job = Readonly<Record<string, unknown>>;

export interface Progress {
  /** Rows of the input that are done, those without an answer included. */
  readonly rows: number;
  /** Where the input goes on; undefined at its beginning. */
  readonly input: number | undefined;
  /** Bytes of the output. */
  readonly output: number;
  /** Bytes of the file of bad rows. */
  readonly badBytes: number;
  readonly bad: Readonly<Partial<Record<RowProblem, number>>>;
  readonly flagged: number;
}

export const NOTHING_DONE: Progress = { rows: 0, input: undefined, output: 0, badBytes: 0, bad: {}, flagged: 0 };

export interface Checkpoint extends Progress {
  /** Of the chunks since the last checkpoint. */
  readonly notes: readonly Note[];
  /** The output is whole. */
  readonly finished?: true;
}

export interface Journal {
  readonly job: Job;
  readonly progress: Progress;
  /** Of all chunks, in order. */
  readonly notes: readonly Note[];
  readonly finished: boolean;
  /** Bytes of the file that count. */
  readonly length: number;
}

const FORMAT = 'dslora-classify 1';

export const firstLine = (job: Job): string => `${JSON.stringify({ journal: FORMAT, job })}\n`;
export const checkpointLine = (checkpoint: Checkpoint): string => `${JSON.stringify(checkpoint)}\n`;

/**
 * @param text of the file
 * @returns undefined when not even its first line is whole: nothing was begun
 * @throws Error when it is no journal
 */
export function readJournal(text: string): Journal | undefined {
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  const [first, ...lines] = whole.split('\n').slice(0, -1);
  if (first === undefined) return undefined;
  const { journal, job } = JSON.parse(first) as { journal?: string; job?: Job };
  if (journal !== FORMAT || job === undefined) throw new Error('it was not written by this version of dslora-classify');

  const checkpoints = lines.map((line) => JSON.parse(line) as Checkpoint);
  const { notes: _, finished = false, ...progress } = checkpoints.at(-1) ?? { ...NOTHING_DONE, notes: [] };
  return {
    job,
    progress: { ...NOTHING_DONE, ...progress },
    notes: checkpoints.flatMap(({ notes }) => notes),
    finished,
    length: Buffer.byteLength(whole),
  };
}

/** Names of what differs between two jobs. */
export function differences(one: Job, other: Job): string[] {
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...names].filter((name) => JSON.stringify(one[name]) !== JSON.stringify(other[name]));
}
