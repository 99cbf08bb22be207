/**
 * A Parquet file, read a few thousand rows at a time.
 *
 * Values are read as they are stored: the schema that the reader sees names no logical types, so that times, decimals,
 * identifiers and nested values go to the output bit for bit. The one exception is INT96, which no writer should write
 * any more: it becomes a timestamp in microseconds.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from 'node:zlib';
import {
  type AsyncBuffer,
  type Compressors,
  type ConvertedType,
  type DecodedArray,
  type FileMetaData,
  parquetMetadataAsync,
  parquetScan,
  type SchemaElement,
} from 'hyparquet';

import { refuse } from './failure.ts';

export interface ParquetInput {
  readonly rows: number;
  /** Names of the top-level columns. */
  readonly columns: readonly string[];
  /** Of the output: what the input's says, with INT96 replaced. */
  readonly schema: readonly SchemaElement[];
  /** The same without logical types. */
  readonly stored: readonly SchemaElement[];
  readonly keyValues: FileMetaData['key_value_metadata'];
  /** Stored values of rows `start` to `end`. */
  read(column: string, start: number, end: number): Promise<DecodedArray>;
  close(): Promise<void>;
}

const COMPRESSORS: Compressors = {
  GZIP: (input) => gunzipSync(input),
  BROTLI: (input) => brotliDecompressSync(input),
  ZSTD: (input) => zstdDecompressSync(input),
};
const READABLE = new Set(['UNCOMPRESSED', 'SNAPPY', ...Object.keys(COMPRESSORS)]);

export async function openParquet(path: string): Promise<ParquetInput> {
  const handle = await open(path);
  const file = await bufferOf(handle);
  const metadata = await parquetMetadataAsync(file, { geoparquet: false }).catch((error: unknown) => {
    throw refuseParquet('it has no readable index at its end, so it is damaged, or of another format', error);
  });
  const codecs = new Set(metadata.row_groups.flatMap(({ columns }) => columns.map((own) => own.meta_data?.codec)));
  const unreadable = [...codecs].filter((codec) => codec === undefined || !READABLE.has(codec));
  if (unreadable.length > 0) {
    throw refuseParquet(`it is compressed as ${unreadable.join(', ')}; readable are ${[...READABLE].join(', ')}`);
  }
  const schema = metadata.schema.map((element) => plainInteger(withoutInt96(element)));
  const stored = schema.map(storedElement);
  const readSchema = metadata.schema.map(storedElement);
  const scan = await parquetScan({
    file,
    metadata: { ...metadata, schema: readSchema },
    compressors: COMPRESSORS,
    geoparquet: false,
    utf8: false,
    parsers: { timestampFromNanoseconds: (nanoseconds) => nanoseconds / 1000n },
  });
  return {
    rows: Number(metadata.num_rows),
    columns: topLevelNames(metadata.schema),
    schema,
    stored,
    // Arrow's own description of the columns is of these columns and no others.
    keyValues: metadata.key_value_metadata?.filter(({ key }) => key !== 'ARROW:schema'),
    async read(column, start, end) {
      const values: unknown[] = [];
      // A read stays within a row group.
      for (const range of scan.ranges) {
        const [rowStart, rowEnd] = [Math.max(start, range.rowStart), Math.min(end, range.rowEnd)];
        if (rowStart >= rowEnd) continue;
        for (const value of await scan.readColumn({ column, rowStart, rowEnd })) values.push(value);
      }
      return values;
    },
    close: () => handle.close(),
  };
}

async function bufferOf(handle: FileHandle): Promise<AsyncBuffer> {
  const { size } = await handle.stat();
  return {
    byteLength: size,
    async slice(start, end = size) {
      const length = Math.min(end, size) - start;
      const buffer = Buffer.allocUnsafeSlow(length);
      const { bytesRead } = await handle.read(buffer, 0, length, start);
      if (bytesRead < length) throw refuseParquet('it has become shorter while it was read');
      return buffer.buffer;
    },
  };
}

/** Newer names of what makes lists, maps and map keys, by the older ones that the reader looks at. */
const NESTED: Readonly<Record<string, ConvertedType>> = { LIST: 'LIST', MAP: 'MAP', STRING: 'UTF8' };

/**
 * Groups that make lists and maps keep what says so; the reader needs it to put them together. It makes objects of maps,
 * so their keys must be strings.
 */
function storedElement(element: SchemaElement, at: number, schema: readonly SchemaElement[]): SchemaElement {
  const { converted_type, logical_type, ...bare } = element;
  const kind = converted_type ?? NESTED[logical_type?.type ?? ''];
  const map = schema[at - 2];
  const isKey = (map?.converted_type ?? map?.logical_type?.type) === 'MAP';
  if (isKey && element.type !== 'BYTE_ARRAY') {
    throw refuseParquet(`the map ${map?.name} has keys that are no strings; leave the column out`);
  }
  const kept = isKey || element.type === undefined;
  return kept && kind !== undefined ? { ...bare, converted_type: kind } : bare;
}

function withoutInt96(element: SchemaElement): SchemaElement {
  if (element.type !== 'INT96') return element;
  return {
    ...element,
    type: 'INT64',
    converted_type: 'TIMESTAMP_MICROS',
    logical_type: { type: 'TIMESTAMP', isAdjustedToUTC: true, unit: 'MICROS' },
  };
}

/** The writer gets the width of an INTEGER wrong, so that strict readers refuse the file; the older name says the same. */
function plainInteger({ logical_type, ...element }: SchemaElement): SchemaElement {
  if (logical_type?.type !== 'INTEGER') return logical_type === undefined ? element : { ...element, logical_type };
  const { bitWidth, isSigned } = logical_type;
  return { ...element, converted_type: `${isSigned ? 'INT' : 'UINT'}_${bitWidth}` as ConvertedType };
}

/** The schema is a tree, written before its children. */
function topLevelNames([root, ...elements]: readonly SchemaElement[]): string[] {
  const names: string[] = [];
  let at = 0;
  function skip(): void {
    const element = elements[at++];
    for (let child = 0; child < (element?.num_children ?? 0); child++) skip();
  }
  for (let column = 0; column < (root?.num_children ?? 0); column++) {
    names.push(elements[at]?.name ?? '');
    skip();
  }
  return names;
}

function refuseParquet(what: string, cause?: unknown): Error {
  try {
    refuse(`The input cannot be read as Parquet: ${what}.`);
  } catch (error) {
    if (error instanceof Error) error.cause = cause;
    return error as Error;
  }
}
