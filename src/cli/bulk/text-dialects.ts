/** What CSV, TSV and JSON Lines each say of a record: where its text is, and how answers join it. */
import { type Cell, type Cells, refuseReserved } from './answer-columns.ts';
import { type CsvRecord, splitCsv } from './csv-records.ts';
import { refuse } from './failure.ts';
import { type Item, ROW_PROBLEMS, type TableOptions } from './table.ts';
import { type Split, splitLines, type TextRecord } from './text-records.ts';

export interface Dialect<R extends TextRecord> {
  readonly split: Split<R>;
  /** Whether the first record names the columns. */
  readonly header: boolean;
  /** @param first the header, or where there is none the first records @throws BulkError when they do not fit */
  layout(first: readonly R[], options: TableOptions): Layout<R>;
}

export interface Layout<R extends TextRecord> {
  readonly columns: readonly string[] | undefined;
  item(record: R): Item;
  /** What the header gets. */
  readonly names: Buffer;
  /** The record with its cells. */
  join(record: R, cells: Cells): Buffer;
}

export const csv = (delimiter: string): Dialect<CsvRecord> => ({
  split: splitCsv(delimiter),
  header: true,
  layout: ([header], options) => {
    return delimited(header, options, delimiter, quoteCsv(delimiter), ({ fields }) => fields);
  },
});

/** As registered (text/tab-separated-values): a row is a line, and quotation marks are ordinary characters. */
export const tsv = (): Dialect<TextRecord> => ({
  split: splitLines,
  header: true,
  layout: ([header], options) => {
    const fields = ({ bytes }: TextRecord) => bytes.toString().split('\t');
    return delimited(header, options, '\t', (text) => text.replaceAll(/[\t\r\n]/g, ' '), fields);
  },
});

export const jsonLines = (): Dialect<TextRecord> => ({
  split: splitLines,
  header: false,
  layout(first, { textColumn, answers }) {
    const objects = first.map(readObject).filter((value) => value !== undefined);
    const columns = [...new Set(objects.flatMap(Object.keys))];
    if (objects.length > 0) {
      requireTextColumn(columns, textColumn);
      refuseReserved(columns, answers);
    }
    const reserved = new Set(answers.map(({ name }) => name));
    return {
      columns: undefined,
      names: Buffer.alloc(0),
      item(record) {
        if (record.problem !== undefined) return { problem: record.problem };
        const value = readObject(record);
        if (value === undefined) return { problem: 'malformed' };
        if (Object.keys(value).some((name) => reserved.has(name))) return { problem: 'reserved_column' };
        const text = Object.hasOwn(value, textColumn) ? value[textColumn] : undefined;
        return typeof text === 'string' ? { text } : { problem: 'no_text' };
      },
      // What the record says stays as it is written, large numbers and repeated names included.
      join({ bytes }, cells) {
        const added = JSON.stringify(Object.fromEntries(answers.map(({ name }, i) => [name, cells[i]])));
        return Buffer.concat([bytes.subarray(0, bytes.lastIndexOf('}')), Buffer.from(`,${added.slice(1)}`)]);
      },
    };
  },
});

function readObject({ bytes }: TextRecord): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function delimited<R extends TextRecord>(
  header: R | undefined,
  { textColumn, answers }: TableOptions,
  delimiter: string,
  quote: (text: string) => string,
  fieldsOf: (record: R) => readonly string[],
): Layout<R> {
  if (header === undefined) refuse('The input is empty. A first line with the names of the columns is expected.');
  if (header.problem !== undefined) {
    refuse(`The first line names no columns: ${ROW_PROBLEMS[header.problem]}. Repair it, or name the --format.`);
  }
  const columns = fieldsOf(header);
  requireTextColumn(columns, textColumn);
  refuseReserved(columns, answers);
  const at = columns.indexOf(textColumn);
  const write = (cell: Cell) => (cell === null ? '' : typeof cell === 'string' ? quote(cell) : `${cell}`);
  const join = (cells: Cells) => Buffer.from(cells.map((cell) => delimiter + write(cell)).join(''));
  return {
    columns,
    names: join(answers.map(({ name }) => name)),
    item(record) {
      if (record.problem !== undefined) return { problem: record.problem };
      const fields = fieldsOf(record);
      if (fields.length !== columns.length) return { problem: 'malformed' };
      const text = fields[at] as string;
      return text === '' ? { problem: 'no_text' } : { text };
    },
    join: ({ bytes }, cells) => Buffer.concat([bytes, join(cells)]),
  };
}

/** @throws BulkError when it is missing or cannot be told apart */
export function requireTextColumn(columns: readonly string[], textColumn: string): void {
  const count = columns.filter((name) => name === textColumn).length;
  if (count === 1) return;
  const choice = `--text-column names the one with the texts; there are: ${columns.join(', ')}`;
  refuse(
    count === 0
      ? `The input has no column named ${textColumn}. ${choice}.`
      : `The input has several columns named ${textColumn}: give them different names.`,
  );
}

function quoteCsv(delimiter: string): (text: string) => string {
  const special = new Set([delimiter, '"', '\r', '\n']);
  return (text) => ([...text].some((char) => special.has(char)) ? `"${text.replaceAll('"', '""')}"` : text);
}
