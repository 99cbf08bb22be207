import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { before, describe, it } from 'node:test';

import { skipWithout } from './program.ts';
import { startService, waitFor } from './service.ts';
import { sharedService } from './shared-service.ts';

const MARK = 'Qzxvmarked';

describe('what the process tells about itself', () => {
  it('logs one line a request, and never a text', async (t) => {
    const service = await startService(t, { LOG_LEVEL: 'trace' });
    const bodies = [
      { text: `you are kind ${MARK}` },
      { texts: [MARK, `idiot ${MARK}`] },
      { text: `${MARK} \ud800` },
      { text: MARK, [MARK]: 1 },
      { text: MARK, model: MARK },
      `{"text": "${MARK}`,
    ];
    const statuses: number[] = [];
    for (const body of bodies) {
      const answer = await service.classify(body);
      statuses.push(answer.status);
      if (answer.status >= 400) assert.equal((await answer.text()).includes(`"${MARK}`), false);
    }
    await fetch(`${service.url}/${MARK}?text=${MARK}`);
    assert.equal(await service.stop(), 0);
    assert.deepEqual(statuses, [200, 200, 422, 400, 404, 400]);
    assert.equal(service.output().includes(MARK), false, service.output());
    const lines = service.requests();
    assert.equal(lines.length, bodies.length + 1);
    const { requestId, durationMs, status, model, texts } = lines[1] ?? {};
    assert.match(String(requestId), /^[0-9a-f-]{36}$/);
    assert.ok(Number(durationMs) > 0);
    assert.deepEqual([status, model, texts], [200, 'tiny', 2]);
  });

  it('logs more after SIGUSR2, and as before after another, and counts what it cannot log', async (t) => {
    const service = await startService(t);
    const probe = async () => (await fetch(`${service.url}/health/live`)).status;
    const lines = () => service.requests().length;
    await probe();
    assert.equal(lines(), 0);
    for (const level of ['debug', 'info']) {
      service.process.kill('SIGUSR2');
      await waitFor(() => (service.output().includes(`"logLevel":"${level}"`) ? true : undefined));
      await probe();
    }
    await service.classify({ text: 'you are kind' });
    await waitFor(() => (service.output().includes('/classify","status"') ? true : undefined));
    assert.deepEqual(
      service.requests().map(({ route }) => route),
      ['/health/live', '/classify'],
    );
    // Nobody reads the log any more: its lines are lost, and counted.
    service.process.stdout?.destroy();
    for (const text of ['one', 'another']) assert.equal((await service.classify({ text })).status, 200);
    const exposed = await (await fetch(`${service.url}/metrics`)).text();
    assert.match(exposed, /^dslora_log_lines_lost_total [12]$/m);
  });
});

describe('metrics', () => {
  const shared = sharedService();
  before(async () => {
    await (await shared().classify({ texts: ['you are kind', 'idiot'] })).json();
  });
  const exposed = async () => (await fetch(`${shared().url}/metrics`)).text();

  it('tell of the work that was done', async () => {
    const text = await exposed();
    for (const line of [
      /^dslora_http_request_duration_seconds_count\{route="\/classify",status="200"\} 1$/m,
      /^dslora_tokenize_seconds_count\{model="tiny"\} 1$/m,
      /^dslora_queue_wait_seconds_count\{model="tiny"\} 2$/m,
      /^dslora_inference_seconds_count\{model="tiny"\} [12]$/m,
      /^dslora_batch_windows_sum\{model="tiny"\} 2$/m,
      /^dslora_batch_tokens_count\{model="tiny"\} [12]$/m,
      /^dslora_batch_padding_ratio_count\{model="tiny"\} [12]$/m,
      /^dslora_gate_activation_ratio_count\{model="tiny",layer="1"\} 2$/m,
      /^dslora_queue_windows\{priority="interactive"\} 0$/m,
      /^dslora_predictions_total\{model="tiny",label="(NOT|OFF)"\} [12]$/m,
      /^dslora_model_info\{model="tiny",.*default="true"\} 1$/m,
      /^process_resident_memory_bytes \d+$/m,
      /^nodejs_eventloop_lag_p99_seconds /m,
    ]) {
      assert.match(text, line);
    }
  });

  it('are such that promtool finds nothing to say about them', { skip: skipWithout('promtool') }, async () => {
    const input = await exposed();
    const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input, encoding: 'utf8' });
    assert.deepEqual({ status, said: `${stdout}${stderr}` }, { status: 0, said: '' });
  });
});
