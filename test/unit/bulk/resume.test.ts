/** Runs that are killed anywhere and go on: the output is that of a run which nothing disturbed. */
import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';

import { type FileOutputOptions, openFileOutput } from '../../../src/cli/bulk/file-output.ts';
import { checkpointLine, firstLine, NOTHING_DONE, readJournal } from '../../../src/cli/bulk/journal.ts';
import type { BadRow, Output } from '../../../src/cli/bulk/output.ts';
import type { Chunk, Note } from '../../../src/cli/bulk/table.ts';

const CHUNK = 3;
const HEAD = Buffer.from('row\n');

/** Every fifth row is bad; a chunk leaves its first row as a note. */
function chunkAt(start: number, rows: number): { chunk: Chunk; bad: BadRow[]; cells: ([number] | undefined)[] } {
  const own = Array.from({ length: Math.min(CHUNK, rows - start) }, (_, i) => start + i + 1);
  return {
    cells: own.map((row) => (row % 5 === 0 ? undefined : [row])),
    bad: own.filter((row) => row % 5 === 0).map((row) => ({ row, problem: 'no_text' })),
    chunk: {
      items: own.map((row) => ({ text: `${row}` })),
      end: start + own.length,
      encode: (cells) => ({
        bytes: Buffer.from(cells.flatMap((cell) => (cell === undefined ? [] : [`${cell[0]}\n`])).join('')),
        note: start,
      }),
    },
  };
}

const foot = (notes: readonly Note[], offset: number) => Buffer.from(`${JSON.stringify(notes)} ${offset}\n`);

/** Writes chunks until the rows are done or `kill` steps are. A step is a chunk or the checkpoint that may follow it. */
async function work(output: Output, rows: number, checkpoints: readonly boolean[], kill: number): Promise<boolean> {
  let steps = 0;
  for (let start = output.progress.input ?? 0; start < rows; start += CHUNK) {
    if (steps++ >= kill) return false;
    const { chunk, cells, bad } = chunkAt(start, rows);
    await output.write(chunk, cells, bad, cells.length);
    if (!checkpoints[(start / CHUNK) % checkpoints.length]) continue;
    if (steps++ >= kill) return false;
    await output.checkpoint();
  }
  if (steps++ >= kill) return false;
  await output.finish(foot);
  return true;
}

async function folder(t: Pick<TestContext, 'after'>): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'bulk-'));
  t.after(() => rm(path, { recursive: true }));
  return path;
}

function options(where: string): FileOutputOptions {
  const path = join(where, 'out');
  return { path, badPath: `${path}.bad.jsonl`, overwrite: false, job: { rows: 1 }, head: HEAD };
}

const contents = async (where: string) =>
  Promise.all(['out', 'out.bad.jsonl'].map((name) => readFile(join(where, name), 'utf8').catch(() => '')));

const isThere = (path: string) =>
  stat(path).then(
    () => true,
    () => false,
  );

describe('a run that was killed', () => {
  it('goes on from the last checkpoint, whatever was written after it', async (t) => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: 40 }),
        fc.array(fc.boolean(), { minLength: 1, maxLength: 5 }),
        fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 4 }),
        fc.string(),
        async (rows, checkpoints, kills, torn) => {
          const undisturbed = await folder(t);
          const output = await openFileOutput(options(undisturbed));
          assert.equal(await work(output, rows, checkpoints, Number.POSITIVE_INFINITY), true);
          await output.close();

          const where = await folder(t);
          for (const kill of [...kills, Number.POSITIVE_INFINITY]) {
            // Nothing is closed or tidied after a kill; the lock stays behind as well.
            const disturbed = await openFileOutput(options(where));
            const whole = await work(disturbed, rows, checkpoints, kill);
            await disturbed.close();
            if (whole) break;
            // Of the last lines, any part may have reached the disk.
            for (const [name, text] of [
              ['out.partial', torn],
              ['out.bad.jsonl', torn],
              ['out.journal', `{"rows":${torn.replaceAll('\n', '')}`],
            ] as const) {
              await writeFile(join(where, name), text, { flag: 'a' });
            }
          }
          assert.deepEqual(await contents(where), await contents(undisturbed));
          assert.equal(await isThere(join(where, 'out.journal')), false);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('is whole when it was killed before or after the last rename', async (t) => {
    const where = await folder(t);
    const first = await openFileOutput(options(where));
    await work(first, 10, [true], 1000);
    await first.close();
    const expected = await contents(where);

    const again = await folder(t);
    const output = await openFileOutput(options(again));
    await work(output, 10, [true], 8);
    const bytes = Buffer.from(expected[0] as string);
    const done = { ...output.progress, output: bytes.length, notes: [], finished: true } as const;
    await output.close();
    await writeFile(join(again, 'out.partial'), bytes);
    await writeFile(join(again, 'out.journal'), checkpointLine(done), { flag: 'a' });

    const renamed = await folder(t);
    await cp(again, renamed, { recursive: true });
    await cp(join(renamed, 'out.partial'), join(renamed, 'out'));
    await rm(join(renamed, 'out.partial'));
    for (const place of [again, renamed]) {
      const resumed = await openFileOutput(options(place));
      assert.equal(await work(resumed, 10, [true], 1000), true);
      await resumed.close();
      assert.deepEqual(await contents(place), expected);
      assert.equal(await isThere(join(place, 'out.journal')), false);
    }
  });

  it('is refused when something has changed, and starts anew when asked to', async (t) => {
    const where = await folder(t);
    const output = await openFileOutput(options(where));
    await work(output, 10, [true], 3);
    await output.close();
    const changed = { ...options(where), job: { rows: 2 } };
    await assert.rejects(openFileOutput(changed), /changed since it began: rows/);
    assert.equal(readJournal(await readFile(join(where, 'out.journal'), 'utf8'))?.progress.rows, 3);
    const anew = await openFileOutput({ ...changed, overwrite: true });
    assert.equal(anew.progress.rows, 0);
    await anew.close();
  });

  it('is refused when its rows are gone', async (t) => {
    const where = await folder(t);
    const output = await openFileOutput(options(where));
    await work(output, 10, [true], 4);
    await output.close();
    await writeFile(join(where, 'out.partial'), 'row\n');
    await assert.rejects(openFileOutput(options(where)), /is shorter than it was/);
  });

  it('leaves an output that it did not make alone', async (t) => {
    const where = await folder(t);
    await writeFile(join(where, 'out'), 'precious');
    await assert.rejects(openFileOutput(options(where)), /exists already/);
    assert.deepEqual(await contents(where), ['precious', '']);
  });

  it('is not joined by a second process', async (t) => {
    const where = await folder(t);
    await writeFile(join(where, 'out.lock'), '1\n');
    await assert.rejects(openFileOutput(options(where)), /Process 1 is writing this output/);
    await writeFile(join(where, 'out.lock'), '4194999\n');
    const output = await openFileOutput(options(where));
    await output.close();
  });
});

describe('the journal', () => {
  it('counts a line only when it is whole', () => {
    const lines = [
      firstLine({ a: 1 }),
      checkpointLine({ ...NOTHING_DONE, rows: 2, notes: [1, 2] }),
      checkpointLine({ ...NOTHING_DONE, rows: 3, notes: [3] }),
    ];
    const text = lines.join('');
    for (let length = 0; length <= text.length; length++) {
      const journal = readJournal(text.slice(0, length));
      const whole = lines.filter((_, i) => lines.slice(0, i + 1).join('').length <= length).length;
      assert.equal(journal?.progress.rows, [undefined, 0, 2, 3][whole]);
      assert.deepEqual(journal?.notes, [undefined, [], [1, 2], [1, 2, 3]][whole]);
    }
  });
});
