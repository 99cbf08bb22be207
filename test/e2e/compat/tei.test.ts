import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { InferenceClient } from '@huggingface/inference';

import { waitFor } from '../service.ts';
import { sharedService } from '../shared-service.ts';
import { nativeScores, ranked, TEXTS } from './native.ts';
import { MISSING_PYTHON, runPythonClient } from './python-client.ts';

interface Prediction {
  readonly label: string;
  readonly score: number;
}

/** Texts that the service has counted so far. */
async function counted(url: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return [...metrics.matchAll(/^dslora_predictions_total\{.*\} (\d+)$/gm)].reduce(
    (sum, [, own]) => sum + Number(own),
    0,
  );
}

describe('clients of text-embeddings-inference', () => {
  const shared = sharedService();

  it('@huggingface/inference reads every class', async () => {
    const { url } = shared();
    const client = new InferenceClient('a-token').endpoint(`${url}/models/tiny`);
    for (const [index, native] of (await nativeScores(url, TEXTS)).entries()) {
      const inputs = TEXTS[index] as string;
      assert.deepEqual(await client.textClassification({ inputs }), ranked(native));
      const best = await client.textClassification({ inputs, parameters: { top_k: 1 } });
      assert.deepEqual(best, ranked(native).slice(0, 1));
    }
    await assert.rejects(client.textClassification({ inputs: '' }), /Nothing is left/);
    // It cannot read the flat list of that server, here as there.
    const flat = new InferenceClient('a-token').endpoint(`${url}/predict`);
    await assert.rejects(flat.textClassification({ inputs: 'hello there' }), /malformed response/);
  });

  it('huggingface_hub reads every class', { skip: MISSING_PYTHON }, async () => {
    const { url } = shared();
    const native = await nativeScores(url, TEXTS);
    const best = native[0]?.label;
    assert.deepEqual(await runPythonClient('hugging_face.py', url, TEXTS), {
      classes: native.map((scores) => ranked(scores).map(({ label, score }) => [label, score])),
      best: [best],
      tei: best,
      error: [400, 'Empty'],
    });
  });

  it('Discourse posts to the address itself, with its key twice', async () => {
    const { url } = shared();
    const [native] = await nativeScores(url, [TEXTS[1] as string]);
    const answer = await fetch(url, {
      method: 'POST',
      headers: {
        Referer: 'https://forum.example',
        'Content-Type': 'application/json',
        'X-API-KEY': 'a-key',
        Authorization: 'Bearer a-key',
      },
      body: JSON.stringify({ inputs: TEXTS[1], truncate: true }),
    });
    assert.equal(answer.status, 200);
    const classes = Object.fromEntries(
      ((await answer.json()) as Prediction[]).map(({ label, score }) => [label, score]),
    );
    assert.deepEqual(classes, native?.probabilities);
  });

  it('a batch is answered in order, with the headers about its cost, and logged like any request', async () => {
    const { url, requests } = shared();
    const native = await nativeScores(url, TEXTS);
    const before = await counted(url);
    const answer = await fetch(`${url}/predict`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ inputs: TEXTS.map((text) => [text]) }),
    });
    const batches = (await answer.json()) as Prediction[][];
    assert.deepEqual(
      batches.map((batch) => batch.map(({ label, score }) => ({ label, score }))),
      native.map(ranked),
    );
    const tokens = native.reduce((sum, scores) => sum + scores.tokens, 0);
    assert.equal(answer.headers.get('x-compute-tokens'), String(tokens));
    assert.equal(
      answer.headers.get('x-compute-characters'),
      String(TEXTS.reduce((sum, text) => sum + [...text].length, 0)),
    );
    for (const name of ['x-compute-time', 'x-total-time', 'x-tokenization-time', 'x-queue-time', 'x-inference-time']) {
      assert.match(String(answer.headers.get(name)), /^\d+$/, name);
    }
    const own = answer.headers.get('x-request-id');
    const { route, model, texts } = await waitFor(() => requests().find(({ requestId }) => requestId === own));
    assert.deepEqual([route, model, texts], ['/predict', 'tiny', TEXTS.length]);
    assert.equal(await counted(url), before + TEXTS.length);
  });
});
