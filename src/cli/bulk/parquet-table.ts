/**
 * A Parquet table: each chunk becomes a row group of the output, so a restart goes on after the last whole one and the
 * file needs no putting together at its end. Row groups always begin at multiples of the same count, so the output does
 * not depend on where a run was broken off.
 */
import { isUtf8 } from 'node:buffer';
import type { DecodedArray, RowGroup, SchemaElement } from 'hyparquet';
import { ByteWriter, ParquetWriter } from 'hyparquet-writer';

import { type AnswerColumn, refuseReserved } from './answer-columns.ts';
import { refuse } from './failure.ts';
import { openParquet } from './parquet-input.ts';
import { packRowGroup, unpackRowGroup } from './row-group-note.ts';
import type { Chunk, Item, Table, TableOptions } from './table.ts';
import { requireTextColumn } from './text-dialects.ts';

/** Rows of a row group. What a kill may cost is a part of this, and the footer grows with the number of groups. */
const GROUP_ROWS = 8192;
/** Begins and ends a file, little endian. */
const MAGIC = Buffer.from('PAR1');
const CREATED_BY = 'dslora-classify';

export async function openParquetTable({ path, textColumn, answers }: TableOptions): Promise<Table> {
  if (path === undefined) refuse('Parquet cannot be read from standard input: its index is at the end. Name a file.');
  const input = await openParquet(path);
  requireTextColumn(input.columns, textColumn);
  if (new Set(input.columns).size < input.columns.length) refuse('The input has two columns of the same name.');
  refuseReserved(input.columns, answers);
  requireStrings(input.schema, textColumn);

  const added = answers.map(schemaElement);
  const stored = extend(input.stored, added);
  const schema = extend(input.schema, added);

  async function chunk(start: number): Promise<Chunk> {
    const end = Math.min(start + GROUP_ROWS, input.rows);
    const columns = new Map<string, DecodedArray>();
    for (const name of input.columns) columns.set(name, await input.read(name, start, end));
    const texts = columns.get(textColumn) as DecodedArray;
    return {
      items: Array.from(texts, readText),
      end,
      encode(cells, offset) {
        const kept = cells.flatMap((own, i) => (own === undefined ? [] : [i]));
        if (kept.length === 0) return { bytes: Buffer.alloc(0) };
        const values = input.columns.map((name) => ({ name, data: pick(columns.get(name) as DecodedArray, kept) }));
        const answered = answers.map(({ name, type }, column) => ({
          name,
          data: kept.map((i) => toStored(type, cells[i]?.[column])),
        }));
        const writer = writerAt(offset);
        const parquet = new ParquetWriter({ writer, schema: stored, statistics: false, createdBy: CREATED_BY });
        writer.index = 0;
        writer.offset = offset;
        parquet.write({
          columnData: [...values, ...answered].map((column) => ({ ...column, offsetIndex: false })),
          rowGroupSize: GROUP_ROWS,
        });
        return { bytes: writer.getBytes().slice(), note: packRowGroup(parquet.row_groups[0] as RowGroup) };
      },
    };
  }

  return {
    columns: input.columns,
    size: input.rows,
    head: () => MAGIC,
    async *chunks(from = 0) {
      for (let start = from; start < input.rows; start += GROUP_ROWS) yield await chunk(start);
    },
    foot(notes, offset) {
      const groups = notes.map(unpackRowGroup);
      const writer = writerAt(offset);
      const parquet = new ParquetWriter({
        writer,
        schema,
        createdBy: CREATED_BY,
        ...(input.keyValues === undefined ? {} : { kvMetadata: input.keyValues }),
      });
      writer.index = 0;
      writer.offset = offset;
      parquet.row_groups = groups;
      parquet.num_rows = groups.reduce((sum, group) => sum + group.num_rows, 0n);
      parquet.finish();
      return writer.getBytes().slice();
    },
    close: input.close,
  };
}

function writerAt(offset: number): ByteWriter {
  const writer = new ByteWriter(1 << 20);
  writer.offset = offset;
  return writer;
}

function readText(value: unknown): Item {
  if (!(value instanceof Uint8Array)) return { problem: 'no_text' };
  if (!isUtf8(value)) return { problem: 'invalid_utf8' };
  return value.length === 0 ? { problem: 'no_text' } : { text: Buffer.from(value).toString() };
}

function requireStrings(schema: readonly SchemaElement[], textColumn: string): void {
  const element = schema.find(({ name }) => name === textColumn);
  if (element?.type === 'BYTE_ARRAY' && element.num_children === undefined) return;
  refuse(`The column ${textColumn} holds no strings. --text-column names one that does.`);
}

function schemaElement({ name, type }: AnswerColumn): SchemaElement {
  const kinds: Record<AnswerColumn['type'], SchemaElement> = {
    string: { name, type: 'BYTE_ARRAY', converted_type: 'UTF8', logical_type: { type: 'STRING' } },
    number: { name, type: 'DOUBLE' },
    boolean: { name, type: 'BOOLEAN' },
  };
  return { ...kinds[type], repetition_type: 'OPTIONAL' };
}

function extend([root, ...columns]: readonly SchemaElement[], added: readonly SchemaElement[]): SchemaElement[] {
  return [{ ...(root as SchemaElement), num_children: (root?.num_children ?? 0) + added.length }, ...columns, ...added];
}

function toStored(type: AnswerColumn['type'], cell: unknown): unknown {
  return type === 'string' && typeof cell === 'string' ? Buffer.from(cell) : (cell ?? undefined);
}

function pick(values: DecodedArray, kept: readonly number[]): unknown[] {
  return kept.map((i) => values[i]);
}
