/** A file of texts and labels: CSV, TSV or JSON Lines, read whole. */
import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';

import { parse } from 'csv-parse/sync';

import { ReplayError } from './failure.ts';

export interface LabelledText {
  readonly text: string;
  readonly offensive: boolean;
}

export interface Columns {
  readonly text: string;
  readonly label: string;
  /** Labels that mean offensive. */
  readonly positive: readonly string[];
  /** Only rows whose column has one of these values. */
  readonly only?: { readonly column: string; readonly ids: ReadonlySet<string> } | undefined;
}

type Row = Readonly<Record<string, unknown>>;

/** TSV has no quotation marks: what looks like one is the writer's own. */
const READERS: Readonly<Record<string, (content: string) => Row[]>> = {
  '.csv': (content) => parse(content, { columns: true, bom: true, skip_empty_lines: true }),
  '.tsv': (content) =>
    parse(content, { columns: true, bom: true, delimiter: '\t', quote: null, skip_empty_lines: true }),
  '.jsonl': (content) =>
    content
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line) => JSON.parse(line) as Row),
};

/** @throws ReplayError that names the row and never says what it holds */
export async function readLabelled(path: string, columns: Columns): Promise<LabelledText[]> {
  const read = READERS[extname(path).toLowerCase()];
  if (read === undefined) throw new ReplayError(`${path}: expected a file named .csv, .tsv or .jsonl`);
  const content = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new ReplayError(`${path} cannot be read (${error.code})`);
  });
  const { only } = columns;
  const rows = parsed(path, () => read(content)).filter(
    (row) => only === undefined || only.ids.has(String(row[only.column])),
  );
  if (only !== undefined && rows.length < only.ids.size)
    throw new ReplayError(`${path}: only ${rows.length} of ${only.ids.size} ids are in the column ${only.column}`);
  const labels = new Set(rows.map((row) => String(row[columns.label])));
  const texts = rows.map((row, index): LabelledText => {
    const [text, label] = [row[columns.text], row[columns.label]];
    for (const [name, value] of [
      [columns.text, text],
      [columns.label, label],
    ]) {
      if (value === undefined) throw new ReplayError(`${path}, row ${index + 1}: there is no column ${name}`);
    }
    if (typeof text !== 'string') throw new ReplayError(`${path}, row ${index + 1}: ${columns.text} is not a text`);
    return { text, offensive: columns.positive.includes(String(label)) };
  });
  const offensive = texts.filter((one) => one.offensive).length;
  if (offensive === 0 || offensive === texts.length) {
    const share = offensive === 0 ? 'no row has' : 'every row has';
    const found = labels.size <= 10 ? ` Labels are ${[...labels].sort().join(', ')}.` : '';
    throw new ReplayError(
      `${path}: ${share} one of the labels ${columns.positive.join(', ')}. Expected some: name those that mean offensive with --positive.${found}`,
    );
  }
  return texts;
}

/** @param path of a JSON list of ids, or of an object with `ids`, such as training keeps of a development split */
export async function readIds(path: string): Promise<ReadonlySet<string>> {
  const content: unknown = await readFile(path, 'utf8').then(JSON.parse, () => undefined);
  const ids: unknown = Array.isArray(content) ? content : (content as { ids?: unknown } | undefined)?.ids;
  if (!Array.isArray(ids)) throw new ReplayError(`${path}: expected a JSON list of ids, or an object with \`ids\``);
  return new Set(ids.map(String));
}

function parsed(path: string, read: () => Row[]): Row[] {
  try {
    return read();
  } catch (error) {
    // The parser's own message may quote the file.
    const { lines } = error as { lines?: number };
    throw new ReplayError(`${path}${lines === undefined ? '' : `, line ${lines}`}: the file is not what its name says`);
  }
}
