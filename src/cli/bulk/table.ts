/** What a format gives to a run: rows in chunks, and the bytes of rows with their answers. */
import type { AnswerColumn, Cells } from './answer-columns.ts';

/** Why a row has no answer. The engine's own codes come on top. */
export const ROW_PROBLEMS = {
  malformed: 'The row is not what the format asks for',
  invalid_utf8: 'The row is not UTF-8',
  record_too_long: 'The row is longer than a row may be',
  reserved_column: 'The row has a column of the name that an answer has',
  no_text: 'The text is missing, or is no string',
  text_too_long: 'The text has more characters than a text may',
  empty_after_normalization: 'Nothing is left of the text to classify',
  invalid_unicode: 'The text holds a lone surrogate',
  quarantined: 'The text has ended model processes before and is not run again',
  inference_failed: 'The model could not be run on the text',
  deadline_exceeded: 'The text was not answered in time',
} as const;

export type RowProblem = keyof typeof ROW_PROBLEMS;

export type Item = { readonly text: string } | { readonly problem: RowProblem };

/** What a format wants kept with a checkpoint so that it can finish the file after a restart; JSON. */
export type Note = unknown;

/** Rows that are read, answered and written together. */
export interface Chunk {
  /** One for each row, in order. */
  readonly items: readonly Item[];
  /** Where the input goes on after these rows. */
  readonly end: number;
  /**
   * The rows that have an answer, as they stand in the output.
   *
   * @param cells one for each item; undefined where there is no answer
   * @param offset of the first byte in the output
   */
  encode(cells: readonly (Cells | undefined)[], offset: number): { readonly bytes: Uint8Array; readonly note?: Note };
}

export interface Table {
  /** Of the input; undefined when rows need not have the same. */
  readonly columns: readonly string[] | undefined;
  /** Of the input, in the unit of `Chunk.end`; undefined when nobody knows. */
  readonly size: number | undefined;
  /** What the output begins with. */
  head(): Uint8Array;
  /**
   * @param from a chunk's `end`; undefined for the first row
   */
  chunks(from: number | undefined): AsyncIterable<Chunk>;
  /** What the output ends with. @param notes of all chunks, in order */
  foot(notes: readonly Note[], offset: number): Uint8Array;
  close(): Promise<void>;
}

export interface TableOptions {
  /** undefined: standard input. */
  readonly path: string | undefined;
  readonly textColumn: string;
  readonly delimiter: string;
  /** Columns that the output gets. */
  readonly answers: readonly AnswerColumn[];
}
