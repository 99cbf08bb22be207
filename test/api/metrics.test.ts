import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { createMetrics } from '../../src/observability/metrics.ts';
import { buildTestApp } from './build-test-app.ts';
import { assertDocumented } from './documented.ts';

/** The value of one sample, by its name and labels as they are exposed. */
function sample(text: string, name: string): number {
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `));
  assert.ok(line, `${name} is missing in\n${text}`);
  return Number(line.slice(name.length + 1));
}

describe('GET /metrics', () => {
  it('counts requests, predictions and gates', async () => {
    const { app, classify } = await buildTestApp();
    await classify({ texts: ['rude', 'kind'] });
    await classify({});
    await app.inject('/anything/at/all');
    const text = assertDocumented(await app.inject('/metrics'), 'GET', '/metrics') as string;
    const name = 'dslora_http_request_duration_seconds_count';
    assert.equal(sample(text, `${name}{route="/classify",status="200"}`), 1);
    assert.equal(sample(text, `${name}{route="/classify",status="400"}`), 1);
    assert.equal(sample(text, `${name}{route="unmatched",status="404"}`), 1);
    assert.equal(sample(text, 'dslora_predictions_total{model="gated",label="OFF"}'), 1);
    assert.equal(sample(text, 'dslora_predictions_total{model="gated",label="NOT"}'), 1);
    assert.equal(sample(text, 'dslora_gate_activation_ratio_count{model="gated",layer="0"}'), 2);
    assert.ok(Math.abs(sample(text, 'dslora_gate_activation_ratio_sum{model="gated",layer="0"}') - 1.2) < 1e-9);
    assert.match(
      text,
      /dslora_model_info\{model="plain",version="1.2.3",.*precision="int8",execution_provider="cpu",default="false"\} 1/,
    );
  });

  it('records what the engine observes', async () => {
    const { observer, expose } = createMetrics({ process: false });
    observer.tokenized({ model: 'm', texts: 1, tokens: 9, seconds: 0.001 });
    observer.queued({ model: 'm', seconds: 0.2 });
    observer.batch({ model: 'm', windows: 4, tokens: 30, paddedTokens: 40, seconds: 0.02 });
    observer.depth(7, { interactive: 5, bulk: 2 });
    observer.refused?.({ model: 'm', priority: 'bulk', reason: 'wait' });
    observer.late?.({ model: 'm', texts: 3 });
    for (const source of ['computed', 'shared', 'cached', 'cached'] as const)
      observer.answered?.({ model: 'm', source });
    observer.quarantined?.({ model: 'm', sha256: '0'.repeat(64) });
    observer.workerExited({ role: 'inference', code: null, signal: 'SIGKILL', expected: false });
    const text = await expose();
    assert.equal(sample(text, 'dslora_tokenize_seconds_sum{model="m"}'), 0.001);
    assert.equal(sample(text, 'dslora_queue_wait_seconds_sum{model="m"}'), 0.2);
    assert.equal(sample(text, 'dslora_inference_seconds_sum{model="m"}'), 0.02);
    assert.equal(sample(text, 'dslora_batch_windows_sum{model="m"}'), 4);
    assert.equal(sample(text, 'dslora_batch_tokens_sum{model="m"}'), 30);
    assert.equal(sample(text, 'dslora_batch_padding_ratio_sum{model="m"}'), 0.25);
    assert.equal(sample(text, 'dslora_queue_windows{priority="interactive"}'), 5);
    assert.equal(sample(text, 'dslora_queue_windows{priority="bulk"}'), 2);
    assert.equal(sample(text, 'dslora_refused_total{model="m",priority="bulk",reason="wait"}'), 1);
    assert.equal(sample(text, 'dslora_late_texts_total{model="m"}'), 3);
    assert.equal(sample(text, 'dslora_answers_total{model="m",source="cached"}'), 2);
    assert.equal(sample(text, 'dslora_quarantined_total{model="m"}'), 1);
    assert.equal(text.includes('0'.repeat(64)), false);
    assert.equal(sample(text, 'dslora_worker_exits_total{role="inference",expected="false"}'), 1);
  });

  it('counts lines of the log that are lost, from 0 on', async () => {
    let lost = 0;
    const output = {
      get lost() {
        return lost;
      },
    };
    const { expose } = createMetrics({ process: false, output });
    assert.equal(sample(await expose(), 'dslora_log_lines_lost_total'), 0);
    lost = 3;
    assert.equal(sample(await expose(), 'dslora_log_lines_lost_total'), 3);
    assert.equal(sample(await expose(), 'dslora_log_lines_lost_total'), 3);
    assert.equal(sample(await createMetrics({ process: false }).expose(), 'dslora_log_lines_lost_total'), 0);
  });

  it('has no series more for anything that a client can choose', async () => {
    const { app, classify, metrics } = await buildTestApp();
    const ask = async (name: string) => {
      await app.inject({ method: 'DELETE', url: `/${name}?${name}` });
      await app.inject({ url: `/models/${name}`, headers: { host: name, 'user-agent': name, 'x-request-id': name } });
      await classify({ text: name, model: name });
      await classify({ text: name, policy: name }, { 'x-request-id': name });
      await classify({ text: name, [name]: name });
    };
    await ask('first');
    const series = async () => (await metrics.expose()).split('\n').filter((line) => !line.startsWith('#')).length;
    const before = await series();
    for (let k = 0; k < 20; k++) await ask(`name-${k}`);
    assert.equal(await series(), before);
  });

  it('tells drift of what is answered, in every protocol, and of no model that is gone', async () => {
    const { app, classify, metrics } = await buildTestApp(
      {},
      {
        metrics: createMetrics({
          process: false,
          drift: { driftWindowTexts: 10, driftWindowMinutes: 1, driftMinTexts: 3 },
        }),
      },
    );
    const told = async (name: string) => sample(await metrics.expose(), name);
    const texts = 'dslora_drift_texts{model="gated",version="1.2.3"}';
    await classify({ texts: ['rude', 'kind'] });
    assert.equal(await told(texts), 2);
    assert.equal((await metrics.expose()).includes('dslora_drift_gate_psi{'), false);
    await app.inject({ method: 'POST', url: '/predict', payload: { inputs: 'kind' } });
    assert.equal(await told(texts), 3);
    assert.ok((await told('dslora_drift_gate_psi{model="gated",version="1.2.3",layer="1"}')) > 0.25);
    // Variants for explanations, and texts without an answer, are nothing that was served.
    await classify({ text: 'kind and more words', explain: true });
    assert.equal(await told(texts), 4);
    assert.equal(await told('dslora_drift_texts{model="plain",version="1.2.3"}'), 0);
  });
});
