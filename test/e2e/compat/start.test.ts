/** Files that the compatibility routes need are looked at when the process starts, not when the first request comes. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';

import { launch, startService } from '../service.ts';

async function folderOf(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'compat-start-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

/** @returns what the process says before it ends with 1 */
async function refusal(t: TestContext, env: Record<string, string>): Promise<string> {
  const { exited, output } = launch(t, env);
  assert.equal(await exited, 1, output());
  return output();
}

describe('start', () => {
  it("maps labels as the operator's file says, and ends when that is wrong", async (t) => {
    const path = join(await folderOf(t), 'attributes.json');
    await writeFile(path, '{"tiny": {"RUDE": {}}}');
    const said = await refusal(t, { ATTRIBUTES_FILE: path });
    assert.match(
      said,
      /ATTRIBUTES_FILE \(.*\) is wrong:\n {2}tiny 1\.0\.0 has no label RUDE; its labels are: NOT, OFF/,
    );

    await writeFile(path, '{"tiny": {"OFF": {"openai": ["hate"]}}}');
    const { url } = await startService(t, { ATTRIBUTES_FILE: path });
    const answer = await fetch(`${url}/v1/moderations`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ input: 'you are an idiot' }),
    });
    const { results } = (await answer.json()) as { results: [{ category_scores: Record<string, number> }] };
    const { hate, harassment } = results[0].category_scores;
    assert.ok((hate ?? 0) > 0);
    assert.equal(harassment, 0);
  });

  it('ends when feedback cannot be kept, or the public address is none', async (t) => {
    const said = await refusal(t, { FEEDBACK_FILE: join(await folderOf(t), 'no/feedback.jsonl') });
    assert.match(said, /FEEDBACK_FILE \(.*\) cannot be appended to: ENOENT/);
    for (const address of ['moderation.example.org', 'ftp://example.org', 'https://me:secret@example.org']) {
      assert.match(await refusal(t, { PUBLIC_URL: address }), /PUBLIC_URL must be an address like https:/);
    }
  });
});
