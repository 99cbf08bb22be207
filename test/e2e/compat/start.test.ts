/** Files that the compatibility routes need are looked at when the process starts, not when the first request comes. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { refusal, startService, temporaryFolder } from '../service.ts';

describe('start', () => {
  it("maps labels as the operator's file says, and ends when that is wrong", async (t) => {
    const path = join(await temporaryFolder(t), 'attributes.json');
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
    const said = await refusal(t, { FEEDBACK_FILE: join(await temporaryFolder(t), 'no/feedback.jsonl') });
    assert.match(said, /FEEDBACK_FILE \(.*\) cannot be appended to: ENOENT/);
    for (const address of ['moderation.example.org', 'ftp://example.org', 'https://me:secret@example.org']) {
      assert.match(await refusal(t, { PUBLIC_URL: address }), /PUBLIC_URL must be an address like https:/);
    }
  });
});
