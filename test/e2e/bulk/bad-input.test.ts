/** Rows and files that cannot be classified. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { describe, it } from 'node:test';

import { classify, folder } from './command.ts';

describe('dslora-classify with bad rows', () => {
  const LINES = [
    'id,text',
    '1,you are kind',
    '2,',
    '3,"never closed',
    '4,"fool"',
    '5,too,many',
    '6,!!!',
    `7,${'fool '.repeat(10)}`,
    '8,\xff',
    '9,kind',
  ];
  const BAD = ['no_text', 'malformed', 'malformed', 'empty_after_normalization', 'text_too_long', 'invalid_utf8'];

  it('sets them aside with number and reason, and counts them', async (t) => {
    const at = await folder(t);
    await writeFile(at('in.csv'), LINES.join('\n'), 'latin1');
    const args = [at('in.csv'), '-o', at('out.csv'), '--max-text-chars', '40', '-q', '--gates', 'none'];
    const { code, stderr } = await classify(args);
    assert.equal(code, 0, stderr);
    const kept = (await readFile(at('out.csv'), 'utf8')).trimEnd().split('\n');
    assert.deepEqual(
      kept.map((line) => line.split(',')[0]),
      ['id', '1', '4', '9'],
    );
    const bad = (await readFile(at('out.csv.bad.jsonl'), 'utf8')).trimEnd().split('\n');
    assert.deepEqual(
      bad.map((line) => JSON.parse(line) as { row: number; reason: string }).map(({ row, reason }) => [row, reason]),
      [2, 3, 5, 6, 7, 8].map((row, i) => [row, BAD[i]]),
    );
    assert.match(stderr, /9 rows: 3 answered, .* 6 without an answer \(no_text 1, malformed 2, /);
  });

  it('ends at the first one with --strict', async (t) => {
    const at = await folder(t);
    await writeFile(at('in.csv'), LINES.join('\n'), 'latin1');
    const { code, stderr } = await classify([at('in.csv'), '-o', at('out.csv'), '--strict', '-q']);
    assert.equal(code, 3);
    assert.match(stderr, /Row 2 has no answer/);
    assert.equal(existsSync(at('out.csv')), false);
  });
});

describe('dslora-classify refuses', () => {
  const UTF16 = Buffer.from('\ufeffid,text\n1,a\n', 'utf16le');

  it('what it cannot do, before it begins', async (t) => {
    const at = await folder(t);
    await writeFile(at('utf16.csv'), UTF16);
    await writeFile(at('label.csv'), 'text,label\nkind,NOT\n');
    await writeFile(at('text.csv'), 'body\nkind\n');
    await writeFile(at('in.csv'), 'text\nkind\n');
    await writeFile(at('taken.csv'), 'precious');
    await writeFile(at('in.parquet'), 'not Parquet, whatever its name says');
    const cases: [args: string[], message: RegExp][] = [
      [[at('utf16.csv')], /UTF-16.*iconv/],
      [[at('label.csv')], /already has a column named label.*--prefix/],
      [[at('text.csv')], /no column named text.*body/],
      [[at('none.csv')], /cannot be read/],
      [[at('in.csv'), '-o', at('in.csv')], /same file/],
      [[at('in.csv'), '-o', at('taken.csv')], /exists already.*--overwrite/],
      [[at('in.csv'), '--model', 'nobody'], /No model nobody.*tiny/],
      [[at('in.csv'), '--threshold', '2'], /--threshold must be/],
      [[at('in.csv'), '--policy', 'nobody'], /no policy nobody.*default/],
      [[at('in.csv'), '--nonsense'], /Unknown option/],
      [[at('in.csv'), '--url', 'http://127.0.0.1:1'], /No service answers/],
      [[at('in.parquet')], /cannot be read as Parquet/],
      [['--format', 'parquet'], /cannot be read from standard input/],
      [[], /--format/],
    ];
    const ends = await Promise.all(cases.map(([args]) => classify([...args, '-q'])));
    for (const [i, { code, stdout, stderr }] of ends.entries()) {
      assert.equal(code, 2, stderr);
      assert.equal(stdout, '');
      assert.match(stderr, cases[i]?.[1] as RegExp);
    }
    assert.equal(await readFile(at('taken.csv'), 'utf8'), 'precious');
  });
});
