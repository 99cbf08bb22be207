import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

import { TINY } from '../../fixtures/bundle-copy.ts';

const COMMAND = fileURLToPath(new URL('../../../src/cli/policy-replay.ts', import.meta.url));
const ROWS = [
  { id: 1, text: 'have a lovely day', label: 'NOT' },
  { id: 2, text: 'what a "terrible", terrible idea', label: 'OFF' },
  { id: 3, text: 'see you tomorrow', label: 'NOT' },
  { id: 4, text: '\u200b', label: 'OFF' },
  { id: 5, text: 'nobody wants to hear it', label: 'OFF' },
];

describe('npm run policy-replay', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'replay-'));
    const csv = ROWS.map(({ id, text, label }) => `${id},"${text.replaceAll('"', '""')}",${label}`);
    await writeFile(join(folder, 'rows.csv'), ['id,text,label', ...csv, ''].join('\n'));
    await writeFile(
      join(folder, 'rows.tsv'),
      ['id\ttext\tlabel', ...ROWS.map((row) => Object.values(row).join('\t')), ''].join('\r\n'),
    );
    await writeFile(join(folder, 'rows.jsonl'), ROWS.map((row) => `${JSON.stringify(row)}\n`).join(''));
    await writeFile(join(folder, 'ids.json'), '{"ids": ["1", "2"]}');
  });
  after(() => rm(folder, { recursive: true }));

  function replay(...args: string[]) {
    const run = spawnSync(process.execPath, [COMMAND, ...args], {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, MODELS_DIR: dirname(TINY), WORKERS: '1', POLICIES_DIR: '' },
    });
    return { status: run.status, output: run.stdout, problem: run.stderr };
  }

  it('prints and writes the same figures for every format', async () => {
    const outputs = [];
    for (const file of ['rows.csv', 'rows.tsv', 'rows.jsonl']) {
      const { status, output, problem } = replay(file, '--positive', 'OFF', '--json', 'out.json', '--svg', 'out.svg');
      assert.equal(status, 0, problem);
      outputs.push(output);
    }
    assert.equal(new Set(outputs).size, 1);
    assert.match(outputs[0] as string, /on 4 texts \(1 more had no answer\)/);
    const { n, unanswered, present, sweep } = JSON.parse(await readFile(join(folder, 'out.json'), 'utf8'));
    const counted = Object.values(present.counts as Record<string, Record<string, number>>).flatMap(Object.values);
    assert.deepEqual([n, unanswered, counted.reduce((sum, one) => sum + one, 0), sweep.length], [4, 1, 4, 99]);
    assert.match(await readFile(join(folder, 'out.svg'), 'utf8'), /^<svg /);
  });

  it('takes only the rows that are asked for', () => {
    assert.match(replay('rows.csv', '--positive', 'OFF', '--ids', 'ids.json').output, /on 2 texts \(0 more/);
  });

  const WRONG: readonly [what: string, args: string[], problem: RegExp][] = [
    ['no file', ['--positive', 'OFF'], /One file is expected/],
    ['no labels', ['rows.csv'], /--positive is missing/],
    [
      'a label that no row has',
      ['rows.csv', '--positive', 'BAD'],
      /no row has one of the labels BAD.*Labels are NOT, OFF/,
    ],
    [
      'a column that there is not',
      ['rows.csv', '--positive', 'OFF', '--text-column', 'post'],
      /there is no column post/,
    ],
    ['a format that is not read', ['rows.xlsx', '--positive', 'OFF'], /expected a file named \.csv, \.tsv or \.jsonl/],
    ['a cost below 0', ['rows.csv', '--positive', 'OFF', '--cost-fp=-1'], /--cost-fp must be a number from 0 on/],
    ['a policy that there is not', ['rows.csv', '--positive', 'OFF', '--policy', 'gone'], /There is no such policy/],
    ['a score without thresholds', ['rows.csv', '--positive', 'OFF', '--sweep', 'OFF'], /has thresholds for offensive/],
    ['an unknown option', ['rows.csv', '--positiv', 'OFF'], /Unknown option/],
  ];
  for (const [what, args, problem] of WRONG) {
    it(`says what is wrong with ${what}`, () => {
      const run = replay(...args);
      assert.equal(run.status, 2, run.problem);
      assert.match(run.problem, problem);
      assert.doesNotMatch(run.problem, /terrible|lovely|at .*\.ts:/);
    });
  }
});
