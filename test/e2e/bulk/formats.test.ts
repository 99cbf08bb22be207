/** Each format through the real command: what goes in comes out, with the answers that the service gives. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { parse } from 'csv-parse/sync';
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import { parquetWriteFile } from 'hyparquet-writer';

import type { WholeResponse } from '../../../src/api/classify-response.ts';
import { startService } from '../service.ts';
import { classify, folder } from './command.ts';

const TEXTS = ['you are kind', 'you, "idiot"', 'what a\nlovely day', 'ты дурак', 'good 😀 morning'];

type Row = Readonly<Record<string, unknown>>;

const jsonRows = (text: string): Row[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Row);

/** Answers of the service for the texts. */
async function expected(t: Parameters<typeof startService>[0]): Promise<WholeResponse['results']> {
  const service = await startService(t);
  const response = await service.classify({ texts: TEXTS });
  assert.equal(response.status, 200);
  return ((await response.json()) as WholeResponse).results;
}

describe('dslora-classify', () => {
  it('answers as the service does, in every format', async (t) => {
    const answers = await expected(t);
    const at = await folder(t);
    const quoted = TEXTS.map((text, i) => `${i},"${text.replaceAll('"', '""')}"`);
    await writeFile(at('in.csv'), `\ufeffid,text\r\n${quoted.join('\r\n')}`);
    await writeFile(at('in.jsonl'), TEXTS.map((text, id) => `${JSON.stringify({ id, text })}\n`).join(''));
    parquetWriteFile({
      filename: at('in.parquet'),
      columnData: [
        { name: 'id', data: TEXTS.map((_, i) => BigInt(i) + 2n ** 60n), type: 'INT64' },
        { name: 'text', data: TEXTS, type: 'STRING' },
        { name: 'at', data: TEXTS.map((_, i) => 1_700_000_000_000_001n + BigInt(i)), type: 'INT64' },
      ],
    });
    for (const format of ['csv', 'jsonl', 'parquet']) {
      const { code, stderr } = await classify([
        at(`in.${format}`),
        '-o',
        at(`out.${format}`),
        '--gates',
        'layers',
        '-q',
      ]);
      assert.equal(code, 0, stderr);
    }

    const csv = await readFile(at('out.csv'), 'utf8');
    assert.ok(csv.startsWith('\ufeffid,text,label,score,offensive,flagged,probability_NOT,probability_OFF,gate_mean,'));
    assert.ok(csv.split('\r\n').length === TEXTS.length + 2, 'lines end as they did');
    const file = await asyncBufferFromFile(at('out.parquet'));
    const tables: Record<string, Row[]> = {
      csv: parse(csv, { bom: true, columns: true }) as Row[],
      jsonl: jsonRows(await readFile(at('out.jsonl'), 'utf8')),
      parquet: await parquetReadObjects({ file }),
    };
    for (const [format, rows] of Object.entries(tables)) {
      assert.equal(rows.length, TEXTS.length, format);
      for (const [i, row] of rows.entries()) {
        const answer = answers[i] ?? assert.fail();
        assert.equal(row.text, TEXTS[i]);
        assert.equal(row.label, answer.label);
        assert.equal(`${row.flagged}`, `${answer.flagged}`);
        const numbers = {
          score: answer.score,
          offensive: answer.offensive,
          probability_NOT: answer.probabilities.NOT,
          probability_OFF: answer.probabilities.OFF,
          gate_mean: answer.gates?.mean,
          gate_1_value: answer.gates?.layers?.[1]?.value,
        };
        for (const [name, value] of Object.entries(numbers)) {
          assert.ok(Math.abs(Number(row[name]) - (value as number)) <= 1e-6, `${name} of row ${i} in ${format}`);
        }
      }
    }
    const [first] = tables.parquet as [Row];
    assert.deepEqual([first.id, first.at], [2n ** 60n, 1_700_000_000_000_001n]);
  });

  it('reads standard input and writes standard output', async () => {
    const input = 'id\ttext\r\n1\tyou are kind\r\n2\t"fool\r\n';
    const { code, stdout, stderr } = await classify(['--format', 'tsv', '--gates', 'none'], input);
    assert.equal(code, 0, stderr);
    const [header, ...rows] = stdout.trimEnd().split('\r\n');
    assert.equal(header, 'id\ttext\tlabel\tscore\toffensive\tflagged\tprobability_NOT\tprobability_OFF');
    assert.deepEqual(
      rows.map((row) => row.split('\t').slice(0, 3)),
      [
        ['1', 'you are kind', 'OFF'],
        ['2', '"fool', 'OFF'],
      ],
    );
  });

  it('keeps nested and logical types of Parquet, and rows in their order over many row groups', async (t) => {
    const at = await folder(t);
    const count = 20_000;
    const range = Array.from({ length: count }, (_, i) => i);
    parquetWriteFile({
      filename: at('in.parquet'),
      rowGroupSize: 7_000,
      schema: [
        { name: 'root', num_children: 4 },
        { name: 'text', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' },
        {
          name: 'at',
          type: 'INT64',
          repetition_type: 'REQUIRED',
          logical_type: { type: 'TIMESTAMP', isAdjustedToUTC: true, unit: 'NANOS' },
        },
        {
          name: 'amount',
          type: 'INT64',
          converted_type: 'DECIMAL',
          precision: 18,
          scale: 2,
          repetition_type: 'OPTIONAL',
        },
        { name: 'tags', repetition_type: 'OPTIONAL', num_children: 1, converted_type: 'LIST' },
        { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
        { name: 'element', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' },
      ],
      columnData: [
        { name: 'text', data: range.map((i) => (i % 1000 === 3 ? null : `you are kind ${'fool '.repeat(i % 3)}`)) },
        { name: 'at', data: range.map((i) => 1_700_000_000_123_456_789n + BigInt(i)) },
        { name: 'amount', data: range.map((i) => (i % 4 === 0 ? null : BigInt(i) - 900_000_000_000_000_001n)) },
        { name: 'tags', data: range.map((i) => [null, [], ['a', null], [`${i}`]][i % 4]) },
      ],
    });
    const { code, stderr } = await classify([at('in.parquet'), '-o', at('out.parquet'), '-q']);
    assert.equal(code, 0, stderr);
    const exact = { timestampFromNanoseconds: (nanoseconds: bigint) => nanoseconds };
    const [before, after] = await Promise.all(
      ['in', 'out'].map(async (name) => {
        const file = await asyncBufferFromFile(at(`${name}.parquet`));
        const metadata = await parquetMetadataAsync(file);
        return { metadata, rows: await parquetReadObjects({ file, metadata, parsers: exact }) };
      }),
    );
    assert.ok(before !== undefined && after !== undefined);
    assert.equal(after.metadata.row_groups.length, 3);
    assert.deepEqual(after.metadata.schema.slice(1, 7), before.metadata.schema.slice(1, 7));
    const kept = before.rows.filter(({ text }) => text !== null && text !== undefined);
    assert.equal(kept.length, count - 20);
    assert.deepEqual(
      after.rows.map(({ text, at: when, amount, tags }) => ({ text, at: when, amount, tags })),
      kept,
    );
    const bad = jsonRows(await readFile(at('out.parquet.bad.jsonl'), 'utf8'));
    assert.deepEqual(bad.slice(0, 2), [
      { row: 4, reason: 'no_text', detail: 'The text is missing, or is no string' },
      { row: 1004, reason: 'no_text', detail: 'The text is missing, or is no string' },
    ]);
  });
});
