/** A table in a text file or on standard input: CSV, TSV, JSON Lines. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';

import type { Chunk, Table, TableOptions } from './table.ts';
import type { Dialect } from './text-dialects.ts';
import { refuseUtf16, type TextRecord, textRecords, UTF8_BOM } from './text-records.ts';

/** As many as the service takes in one request. */
const CHUNK_ROWS = 256;
/** What a chunk's rows may take, so that long texts do not fill the memory. Bytes. */
const CHUNK_BYTES = 256 * 1024;
const READ_BYTES = 256 * 1024;

export async function openTextTable<R extends TextRecord>(dialect: Dialect<R>, options: TableOptions): Promise<Table> {
  const { path } = options;
  // Only what passed through the splitter unharmed has the splitter's own type; `problem` marks the rest.
  const read = (stream: AsyncIterable<Buffer>, start: number) =>
    textRecords(stream, start, dialect.split) as AsyncGenerator<readonly R[]>;
  const stream = path === undefined ? process.stdin : createReadStream(path, { highWaterMark: READ_BYTES });
  const { marked, rest } = await readMark(stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>);
  const records = read(rest, marked ? UTF8_BOM.length : 0);

  const { value: first = [] } = await records.next();
  const layout = dialect.layout(first, options);
  const after = dialect.header ? first.slice(1) : first;
  /** For a last row that nothing ends. */
  const newline = first[0]?.newline || '\n';

  function chunkOf(rows: readonly R[]): Chunk {
    return {
      items: rows.map((row) => layout.item(row)),
      end: (rows.at(-1) as R).end,
      encode: (cells) => ({
        bytes: Buffer.concat(
          rows.flatMap((row, i) => {
            const own = cells[i];
            return own === undefined ? [] : [layout.join(row, own), Buffer.from(row.newline || newline)];
          }),
        ),
      }),
    };
  }

  return {
    columns: layout.columns,
    size: path === undefined ? undefined : (await stat(path)).size,
    head() {
      const [header] = first;
      const mark = marked ? UTF8_BOM : Buffer.alloc(0);
      if (!dialect.header || header === undefined) return mark;
      return Buffer.concat([mark, header.bytes, layout.names, Buffer.from(newline)]);
    },
    async *chunks(from) {
      const resumed = from !== undefined && path !== undefined;
      const source = resumed
        ? read(createReadStream(path, { start: from, highWaterMark: READ_BYTES }), from)
        : prepend(after, records);
      for await (const rows of inChunks(source)) yield chunkOf(rows);
    },
    foot: () => Buffer.alloc(0),
    async close() {
      stream.destroy();
    },
  };
}

/** Takes a byte order mark away from the beginning. @throws BulkError for UTF-16 */
async function readMark(blocks: AsyncIterator<Buffer>) {
  let head = Buffer.alloc(0);
  let ended = false;
  while (!ended && head.length < 4) {
    const next = await blocks.next();
    if (next.done) ended = true;
    else head = Buffer.concat([head, next.value]);
  }
  refuseUtf16(head);
  const marked = head.subarray(0, UTF8_BOM.length).equals(UTF8_BOM);
  const rest = (async function* () {
    if (head.length > 0) yield marked ? head.subarray(UTF8_BOM.length) : head;
    if (!ended) yield* { [Symbol.asyncIterator]: () => blocks };
  })();
  return { marked, rest };
}

async function* prepend<T>(first: readonly T[], rest: AsyncIterable<readonly T[]>): AsyncGenerator<readonly T[]> {
  yield first;
  yield* rest;
}

async function* inChunks<R extends TextRecord>(batches: AsyncIterable<readonly R[]>): AsyncGenerator<R[]> {
  let rows: R[] = [];
  let bytes = 0;
  for await (const batch of batches) {
    for (const record of batch) {
      rows.push(record);
      bytes += record.bytes.length;
      if (rows.length < CHUNK_ROWS && bytes < CHUNK_BYTES) continue;
      yield rows;
      rows = [];
      bytes = 0;
    }
  }
  if (rows.length > 0) yield rows;
}
