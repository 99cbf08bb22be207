import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';

import { splitCsv } from '../../../src/cli/bulk/csv-records.ts';
import { type Split, splitLines, type TextRecord, textRecords } from '../../../src/cli/bulk/text-records.ts';

async function readAll<R extends TextRecord>(
  blocks: readonly Buffer[],
  split: Split<R>,
  longest?: number,
): Promise<(R | TextRecord)[]> {
  const stream = (async function* () {
    yield* blocks;
  })();
  const records: (R | TextRecord)[] = [];
  for await (const batch of textRecords(stream, 0, split, longest)) records.push(...batch);
  return records;
}

/** The same bytes in blocks of the given sizes. */
function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const blocks: Buffer[] = [];
  let at = 0;
  for (const size of sizes) {
    if (at >= bytes.length) break;
    blocks.push(bytes.subarray(at, at + size));
    at += size;
  }
  if (at < bytes.length) blocks.push(bytes.subarray(at));
  return blocks;
}

const shown = (records: readonly TextRecord[]) =>
  records.map(({ bytes, newline, end, problem }) => [bytes.toString('latin1'), newline, end, problem]);

const pieces = fc.array(fc.constantFrom('a', 'é', '😀', ',', '"', '""', '"b"', '\n', '\r\n', '\t', ' '), {
  maxLength: 40,
});
const sizes = fc.array(fc.integer({ min: 1, max: 7 }), { maxLength: 60 });

describe('text records', () => {
  for (const [name, split] of Object.entries({ lines: splitLines, csv: splitCsv(',') })) {
    it(`are the same wherever a block ends (${name})`, async () => {
      await fc.assert(
        fc.asyncProperty(pieces, sizes, async (parts, cuts) => {
          const bytes = Buffer.from(parts.join(''));
          assert.deepEqual(shown(await readAll(cut(bytes, cuts), split)), shown(await readAll([bytes], split)));
        }),
        { numRuns: 300 },
      );
    });

    it(`go on from any record's end as if nothing had been before (${name})`, async () => {
      await fc.assert(
        fc.asyncProperty(pieces, fc.nat(), async (parts, pick) => {
          const bytes = Buffer.from(parts.join(''));
          const all = await readAll([bytes], split);
          if (all.length === 0) return;
          const at = pick % all.length;
          const { end } = all[at] as TextRecord;
          const rest = await readAll([bytes.subarray(end)], split);
          assert.deepEqual(
            shown(rest.map((record) => ({ ...record, end: record.end + end }))),
            shown(all.slice(at + 1)),
          );
        }),
        { numRuns: 300 },
      );
    });
  }

  it('hold quoted delimiters, newlines and quotation marks', async () => {
    const records = await readAll([Buffer.from('a,b\r\n"1,\r\n2","say ""hi"""\r\n\r\n3,4')], splitCsv(','));
    assert.deepEqual(
      records.map((record) => 'fields' in record && record.fields),
      [
        ['a', 'b'],
        ['1,\r\n2', 'say "hi"'],
        ['3', '4'],
      ],
    );
    assert.deepEqual(
      records.map(({ bytes }) => bytes.toString()),
      ['a,b', '"1,\r\n2","say ""hi"""', '3,4'],
    );
  });

  it('are whole when a block ends within what follows a quoted field', async () => {
    for (const [delimiter, text] of [
      [',', '"1\n2"\r\n3\r\n'],
      ['；', '"1\n2"；4\n3；5\n'],
    ] as const) {
      const bytes = Buffer.from(text);
      const split = splitCsv(delimiter);
      const records = await readAll(cut(bytes, Array(bytes.length).fill(1)), split);
      assert.deepEqual(shown(records), shown(await readAll([bytes], split)));
      assert.deepEqual(
        records.map(({ problem }) => problem),
        [undefined, undefined],
      );
    }
  });

  it('lose only the line of a stray quotation mark', async () => {
    const bytes = Buffer.from('1,good\n2,"never closed\n3,"quoted"\n4,in"side\n5,good\n6,"open');
    const records = await readAll([bytes], splitCsv(','));
    assert.deepEqual(
      records.map(({ bytes: own, problem }) => [own.toString().slice(0, 1), problem]),
      [
        ['1', undefined],
        ['2', 'malformed'],
        ['3', undefined],
        ['4', 'malformed'],
        ['5', undefined],
        ['6', 'malformed'],
      ],
    );
  });

  it('give up what is longer than a record may be, and keep its neighbours', async () => {
    const bytes = Buffer.from(`first\n${'x'.repeat(5_000)}\nlast\n`);
    for (const split of [splitLines, splitCsv(',')]) {
      const records = await readAll(cut(bytes, Array(100).fill(100)), split, 1_000);
      assert.deepEqual(
        records.map(({ bytes: own, problem }) => problem ?? own.toString()),
        ['first', 'record_too_long', 'last'],
      );
      assert.equal(records.at(-1)?.end, bytes.length);
    }
  });

  it('are told when they are not UTF-8', async () => {
    const bytes = Buffer.concat([Buffer.from('a,'), Buffer.from([0xff, 10]), Buffer.from('b,\ufffd\n')]);
    for (const split of [splitLines, splitCsv(',')]) {
      assert.deepEqual(
        (await readAll([bytes], split)).map(({ problem }) => problem),
        ['invalid_utf8', undefined],
      );
    }
  });
});
