import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';

import { openFeedbackFile } from '../../src/api/compat/perspective/feedback-file.ts';

describe('the feedback file', () => {
  let folder: string;
  let path: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'feedback-'));
    path = join(folder, 'feedback.jsonl');
  });
  afterEach(() => rm(folder, { recursive: true }));

  const lines = async () => (await readFile(path, 'utf8')).trimEnd().split('\n');

  it('has one whole line a record, however many come at once', async () => {
    const file = await openFeedbackFile(path, 1e9);
    const records = Array.from({ length: 200 }, (_, id) => ({ id, text: 'é👍\n'.repeat(id) }));
    assert.deepEqual(new Set(await Promise.all(records.map((record) => file.append(record)))), new Set([true]));
    assert.deepEqual(
      (await lines()).map((line) => JSON.parse(line)),
      records,
    );
    // Texts of people: nobody else's to read.
    assert.equal((await stat(path)).mode & 0o777, 0o600);
  });

  it('goes on after what was there, also after half a line', async () => {
    await writeFile(path, '{"id":1}\n{"id":');
    await (await openFeedbackFile(path, 1e9)).append({ id: 2 });
    await (await openFeedbackFile(path, 1e9)).append({ id: 3 });
    assert.deepEqual(await lines(), ['{"id":1}', '{"id":', '{"id":2}', '{"id":3}']);
  });

  it('never grows beyond its size', async () => {
    const file = await openFeedbackFile(path, 25);
    assert.deepEqual(
      await Promise.all([file.append({ id: 1 }), file.append({ id: 2 }), file.append({ id: 33333 }), file.append({})]),
      [true, true, false, true],
    );
    assert.deepEqual(await lines(), ['{"id":1}', '{"id":2}', '{}']);
  });

  it('must be a file that can be written', async () => {
    await assert.rejects(openFeedbackFile(folder, 1e9), /EISDIR/);
    await assert.rejects(openFeedbackFile(join(folder, 'no/where'), 1e9), /ENOENT/);
  });
});
