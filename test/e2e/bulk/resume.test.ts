/** The real command, killed and started again. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { readFile, utimes, writeFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parquetWriteFile } from 'hyparquet-writer';

import { FIXTURES, waitFor } from '../service.ts';
import { classify, folder, start } from './command.ts';

const ROWS = 40_000;
/** Rows of several lengths, some of them bad. */
const text = (i: number) => (i % 997 === 0 ? '' : `you are kind ${'fool '.repeat(i % 7)}`);

const INPUTS = {
  csv: (path: string) =>
    writeFile(path, `id,text\n${Array.from({ length: ROWS }, (_, i) => `${i},"${text(i)}"\n`).join('')}`),
  jsonl: (path: string) =>
    writeFile(path, Array.from({ length: ROWS }, (_, id) => `${JSON.stringify({ id, text: text(id) })}\n`).join('')),
  parquet: async (path: string) =>
    parquetWriteFile({
      filename: path,
      columnData: [
        { name: 'id', data: Array.from({ length: ROWS }, (_, i) => i), type: 'INT32' },
        { name: 'text', data: Array.from({ length: ROWS }, (_, i) => text(i)), type: 'STRING' },
      ],
    }),
};

/** More than one: what went on must be able to go on again. */
const KILLS = process.env.DSLORA_TEST_FULL ? 3 : 2;

/** Lines of the journal so far; the first one says what the run is. */
function checkpoints(output: string): number {
  const path = `${output}.journal`;
  return existsSync(path) ? Math.max(0, readFileSync(path, 'utf8').split('\n').length - 2) : 0;
}

describe('dslora-classify after a kill', () => {
  for (const [format, make] of Object.entries(INPUTS)) {
    it(`ends with the same output as if nothing had happened (${format})`, async (t) => {
      const at = await folder(t);
      await make(at(`in.${format}`));
      const whole = await classify([at(`in.${format}`), '-o', at(`whole.${format}`), '-q']);
      assert.equal(whole.code, 0, whole.stderr);

      const output = at(`out.${format}`);
      const args = [at(`in.${format}`), '-o', output, '-q', '--checkpoint', '0.05'];
      for (let kill = 0; kill < KILLS; kill++) {
        const before = checkpoints(output);
        const run = start(args);
        await waitFor(() => (checkpoints(output) > before ? true : undefined), 60_000);
        run.process.kill('SIGKILL');
        assert.equal((await run.ended).code, null);
      }
      const last = await classify(args);
      assert.equal(last.code, 0, last.stderr);
      assert.match(last.stderr, /Going on after/);
      for (const suffix of ['', '.bad.jsonl']) {
        const [expected, found] = await Promise.all(
          ['whole', 'out'].map((name) => readFile(at(`${name}.${format}${suffix}`))),
        );
        assert.ok(found !== undefined && expected?.equals(found), `the output differs${suffix}`);
      }
      assert.equal(existsSync(`${output}.journal`), false);
      assert.equal(existsSync(`${output}.partial`), false);
    });
  }

  it('ends the rows in hand at SIGINT and says how to go on', async (t) => {
    const at = await folder(t);
    await INPUTS.csv(at('in.csv'));
    const args = [at('in.csv'), '-o', at('out.csv'), '-q'];
    const run = start(args);
    await waitFor(() => existsSync(at('out.csv.partial')) || undefined, 30_000);
    run.process.kill('SIGINT');
    const { code, stderr } = await run.ended;
    assert.equal(code, 130, stderr);
    assert.match(stderr, /rows are safe\. The same command goes on from there\./);
    const again = await classify(args);
    assert.equal(again.code, 0, again.stderr);
    assert.equal(
      (await readFile(at('out.csv'), 'utf8')).trimEnd().split('\n').length,
      ROWS - Math.ceil(ROWS / 997) + 1,
    );
  });

  it('refuses to go on with an input that has changed', async (t) => {
    const at = await folder(t);
    await INPUTS.csv(at('in.csv'));
    const args = [at('in.csv'), '-o', at('out.csv'), '-q'];
    const run = start(args);
    await waitFor(() => existsSync(at('out.csv.partial')) || undefined, 30_000);
    run.process.kill('SIGKILL');
    await run.ended;
    await utimes(at('in.csv'), new Date(), new Date(0));
    const again = await classify(args);
    assert.equal(again.code, 2);
    assert.match(again.stderr, /changed since it began: the input file\..*--overwrite/s);
    const threshold = await classify([...args, '--threshold', '0.9', '--overwrite']);
    assert.equal(threshold.code, 0, threshold.stderr);
  });

  it('breaks off when the disk takes no more, and goes on when it does again', async (t) => {
    const at = await folder(t);
    await INPUTS.csv(at('in.csv'));
    const command = fileURLToPath(new URL('../../../src/cli/classify.ts', import.meta.url));
    // A file may not grow beyond 512 KiB: to the program this is what a full disk is.
    const limited = spawnSync(
      'bash',
      ['-c', 'ulimit -f 512; exec "$0" "$@"', process.execPath, command, at('in.csv'), '-o', at('out.csv'), '-q'],
      { encoding: 'utf8', env: { ...process.env, MODELS_DIR: FIXTURES, WORKERS: '1' } },
    );
    assert.equal(limited.status, 1, limited.stderr);
    assert.match(limited.stderr, /Broken off after [\d,]+ rows: .*raise the limit\n.*The same command goes on/s);
    const again = await classify([at('in.csv'), '-o', at('out.csv'), '-q']);
    assert.equal(again.code, 0, again.stderr);
    assert.match(again.stderr, /Going on after/);
    const lines = (await readFile(at('out.csv'), 'utf8')).trimEnd().split('\n');
    assert.equal(new Set(lines.map((line) => line.split(',')[0])).size, lines.length, 'no row comes twice');
    assert.equal(lines.length, ROWS - Math.ceil(ROWS / 997) + 1);
  });
});
