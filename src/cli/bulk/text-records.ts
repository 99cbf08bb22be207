/** Bytes of a text file -> its records, whatever the format says a record is. */
import { isUtf8 } from 'node:buffer';

import { refuse } from './failure.ts';
import type { RowProblem } from './table.ts';

export interface TextRecord {
  /** Without what ends it. */
  readonly bytes: Buffer;
  /** What ends it: `\r\n`, `\n`, or nothing at the end of the file. */
  readonly newline: string;
  /** Offset in the file just after it and what ends it. */
  readonly end: number;
  readonly problem?: RowProblem;
}

/** A record that the splitter found whole; `end` counts from the beginning of the buffer. */
export interface Found<R extends TextRecord> {
  readonly records: readonly R[];
  /** Bytes of the buffer that they and what lies between took. */
  readonly used: number;
}

/**
 * @param atEnd whether the file ends with the buffer
 * @returns as many whole records as there are; nothing of the rest
 */
export type Split<R extends TextRecord> = (buffer: Buffer, atEnd: boolean) => Found<R>;

/** A record longer than this is a mistake, such as a quotation mark that is never closed. Bytes. */
const LONGEST_RECORD = 4 * 1024 * 1024;
const NEWLINE = 10;
const CARRIAGE_RETURN = 13;
export const UTF8_BOM = Buffer.from([0xef, 0xbb, 0xbf]);

/**
 * @param stream of bytes
 * @param start offset of the stream's first byte in the file
 * @param longest bytes of a record
 */
export async function* textRecords<R extends TextRecord>(
  stream: AsyncIterable<Buffer>,
  start: number,
  split: Split<R>,
  longest = LONGEST_RECORD,
): AsyncGenerator<readonly (R | TextRecord)[]> {
  let rest: Buffer = Buffer.alloc(0);
  let offset = start;
  /** Within a record that is too long: everything up to its end is dropped. */
  let dropping = false;

  function take(buffer: Buffer, atEnd: boolean): (R | TextRecord)[] {
    const { records, used } = split(buffer, atEnd);
    const placed = records.map((record) => ({ ...record, end: offset + record.end }));
    offset += used;
    rest = buffer.subarray(used);
    return placed;
  }

  /** Gives up the line that the rest begins with. */
  function drop(): TextRecord[] {
    const line = rest.indexOf(NEWLINE) + 1;
    const size = line === 0 ? rest.length : line;
    dropping = line === 0;
    offset += size;
    rest = rest.subarray(size);
    return dropping ? [] : [tooLong(offset)];
  }

  for await (const block of stream) {
    rest = rest.length === 0 ? block : Buffer.concat([rest, block]);
    const records: (R | TextRecord)[] = [];
    if (dropping) records.push(...drop());
    if (!dropping) records.push(...take(rest, false));
    while (!dropping && rest.length > longest) {
      records.push(...drop());
      if (!dropping) records.push(...take(rest, false));
    }
    if (records.length > 0) yield records;
  }
  if (dropping) yield [tooLong(offset + rest.length)];
  else if (rest.length > 0) yield take(rest, true);
}

const tooLong = (end: number): TextRecord => ({
  bytes: Buffer.alloc(0),
  newline: '\n',
  end,
  problem: 'record_too_long',
});

/** A record a line; empty ones do not count. */
export function splitLines(buffer: Buffer, atEnd: boolean): Found<TextRecord> {
  const records: TextRecord[] = [];
  let used = 0;
  for (;;) {
    const newline = buffer.indexOf(NEWLINE, used);
    if (newline < 0 && !(atEnd && used < buffer.length)) break;
    const end = newline < 0 ? buffer.length : newline + 1;
    const line = cutNewline(buffer.subarray(used, end));
    if (line.bytes.length > 0) records.push(checked({ ...line, end }));
    used = end;
  }
  return { records, used };
}

export function cutNewline(line: Buffer): Pick<TextRecord, 'bytes' | 'newline'> {
  let end = line.length;
  if (line[end - 1] === NEWLINE) end--;
  if (end < line.length && line[end - 1] === CARRIAGE_RETURN) end--;
  return { bytes: line.subarray(0, end), newline: line.toString('latin1', end) };
}

export function checked<R extends TextRecord>(record: R): R {
  return isUtf8(record.bytes) ? record : { ...record, problem: 'invalid_utf8' };
}

/** @throws BulkError when the first bytes of a file are not those of UTF-8 text */
export function refuseUtf16(head: Buffer): void {
  const [first, second] = head;
  const marked = (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);
  if (!marked && !head.subarray(0, 4).includes(0)) return;
  refuse('The input is UTF-16, or no text at all. UTF-8 is expected: convert it with `iconv -f UTF-16 -t UTF-8`.');
}
