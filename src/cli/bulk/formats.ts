/** The formats there are, and how one is told from another. */
import { extname } from 'node:path';

import { refuse } from './failure.ts';
import { openParquetTable } from './parquet-table.ts';
import type { Table, TableOptions } from './table.ts';
import { csv, jsonLines, tsv } from './text-dialects.ts';
import { openTextTable } from './text-table.ts';

interface Format {
  readonly extensions: readonly string[];
  open(options: TableOptions): Promise<Table>;
}

const FORMATS = {
  csv: { extensions: ['.csv'], open: (options) => openTextTable(csv(options.delimiter), options) },
  tsv: { extensions: ['.tsv', '.tab'], open: (options) => openTextTable(tsv(), options) },
  jsonl: { extensions: ['.jsonl', '.ndjson'], open: (options) => openTextTable(jsonLines(), options) },
  parquet: { extensions: ['.parquet', '.pq'], open: openParquetTable },
} as const satisfies Record<string, Format>;

export type FormatName = keyof typeof FORMATS;
export const FORMAT_NAMES = Object.keys(FORMATS) as FormatName[];

/**
 * @param path undefined: standard input
 * @throws BulkError when neither says it
 */
export function formatOf(named: FormatName | undefined, path: string | undefined): FormatName {
  if (named !== undefined) return named;
  const extension = path === undefined ? '' : extname(path).toLowerCase();
  const found = FORMAT_NAMES.find((name) => (FORMATS[name] as Format).extensions.includes(extension));
  return found ?? refuse(`The format cannot be told from the name: name it with --format ${FORMAT_NAMES.join('|')}.`);
}

export function openTable(format: FormatName, options: TableOptions): Promise<Table> {
  return FORMATS[format].open(options);
}
