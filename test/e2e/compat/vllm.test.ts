import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import OpenAI from 'openai';

import { waitFor } from '../service.ts';
import { sharedService } from '../shared-service.ts';
import { nativeScores, TEXTS } from './native.ts';

interface Answer {
  readonly id: string;
  readonly object: string;
  readonly created: number;
  readonly model: string;
  readonly data: readonly { index: number; label: string; probs: readonly number[]; num_classes: number }[];
  readonly usage: Readonly<Record<string, number | null>>;
}

describe('vLLM', () => {
  const shared = sharedService();

  it('answers `input` on /classify in its documented shape', async () => {
    const { url, classify, requests } = shared();
    const native = await nativeScores(url, TEXTS);
    const answer = await classify({ model: 'tiny', input: TEXTS, user: 'someone', truncate_prompt_tokens: -1 });
    assert.equal(answer.status, 200);
    const { id, object, created, model, data, usage } = (await answer.json()) as Answer;
    assert.equal(id, `classify-${answer.headers.get('x-request-id')}`);
    assert.deepEqual([object, model], ['list', 'tiny']);
    assert.ok(Math.abs(created - Date.now() / 1000) < 60);
    assert.deepEqual(
      data,
      native.map(({ label, probabilities }, index) => {
        const probs = Object.values(probabilities);
        return { index, label, probs, num_classes: probs.length };
      }),
    );
    const tokens = native.reduce((sum, scores) => sum + scores.tokens, 0);
    assert.deepEqual([usage.prompt_tokens, usage.total_tokens, usage.completion_tokens], [tokens, tokens, 0]);
    const requestId = answer.headers.get('x-request-id');
    const line = await waitFor(() => requests().find((one) => one.requestId === requestId));
    assert.deepEqual([line.route, line.model, line.texts], ['/classify', 'tiny', TEXTS.length]);
  });

  it('lists models so that a client finds the name to send', async () => {
    const { url, classify } = shared();
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'any' });
    const [model] = (await client.models.list()).data;
    assert.equal(model?.object, 'model');
    assert.equal((await classify({ model: model?.id, input: 'hello there' })).status, 200);
  });
});
