/**
 * CSV as in RFC 4180: fields may be quoted, and then hold delimiters, newlines and doubled quotation marks.
 *
 * A record that breaks the rules costs its first line and no more: what follows is tried again from the next line, so
 * one stray quotation mark does not swallow the file.
 */
import { CsvError, parse } from 'csv-parse/sync';

import { checked, cutNewline, type Found, type TextRecord } from './text-records.ts';

export interface CsvRecord extends TextRecord {
  readonly fields: readonly string[];
}

const NEWLINE = 10;
const CARRIAGE_RETURN = 13;

/** @param delimiter one character */
export function splitCsv(delimiter: string): (buffer: Buffer, atEnd: boolean) => Found<CsvRecord> {
  return (read, atEnd) => {
    // Only whole lines are judged: a `\r` or half a delimiter after a closing quotation mark would look like an error.
    const buffer = atEnd ? read : read.subarray(0, read.lastIndexOf(NEWLINE) + 1);
    const records: CsvRecord[] = [];
    let used = 0;
    while (used < buffer.length) {
      const { found, broken } = parseFrom(buffer, used, delimiter);
      records.push(...found);
      used = found.at(-1)?.end ?? used;
      if (broken === undefined || (broken === 'open' && !atEnd)) break;
      const start = skipNewlines(buffer, used);
      const newline = buffer.indexOf(NEWLINE, start);
      const end = newline < 0 ? buffer.length : newline + 1;
      records.push({ ...cutNewline(buffer.subarray(start, end)), end, fields: [], problem: 'malformed' });
      used = end;
    }
    return { records, used };
  };
}

/** @returns what is whole, and whether what follows has an `open` quotation mark or is otherwise wrong */
function parseFrom(buffer: Buffer, from: number, delimiter: string) {
  const found: CsvRecord[] = [];
  let previous = from;
  let broken: 'open' | 'wrong' | undefined;
  try {
    parse(buffer.subarray(from), {
      delimiter,
      record_delimiter: ['\r\n', '\n'],
      relax_column_count: true,
      skip_empty_lines: true,
      on_record(fields: string[], { bytes }) {
        const end = from + bytes;
        const start = skipNewlines(buffer, previous);
        found.push(checked({ ...cutNewline(buffer.subarray(start, end)), end, fields }));
        previous = end;
        return null;
      },
    });
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    broken = error.code === 'CSV_QUOTE_NOT_CLOSED' ? 'open' : 'wrong';
  }
  return { found, broken };
}

/** Empty lines stand before a record as the parser counts bytes. */
function skipNewlines(buffer: Buffer, from: number): number {
  let at = from;
  while (buffer[at] === NEWLINE || (buffer[at] === CARRIAGE_RETURN && buffer[at + 1] === NEWLINE)) at++;
  return at;
}
