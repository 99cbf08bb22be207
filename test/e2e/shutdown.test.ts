import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { startService } from './service.ts';

describe('the end of the process', () => {
  it('turns readiness off at once, serves through the delay, then exits with 0', async (t) => {
    const { url, classify, stop, process } = await startService(t, { DRAIN_DELAY_MS: '1500' });
    assert.equal((await fetch(`${url}/health/ready`)).status, 200);
    const begun = performance.now();
    const ended = stop();
    await delay(200);
    const ready = await fetch(`${url}/health/ready`);
    assert.equal(ready.status, 503);
    assert.equal(((await ready.json()) as { code: string }).code, 'shutting_down');
    assert.equal((await fetch(`${url}/health/live`)).status, 200);
    const served = await classify({ text: 'you are kind' });
    assert.deepEqual([served.status, served.headers.get('connection')], [200, 'close']);
    await served.json();
    assert.equal(process.exitCode, null);
    assert.equal(await ended, 0);
    const took = performance.now() - begun;
    assert.ok(took >= 1500, `${took} ms`);
    await assert.rejects(fetch(`${url}/health/live`));
  });

  it('answers what is in hand', async (t) => {
    const { classify, stop, requests } = await startService(t, { LOG_LEVEL: 'debug' });
    const texts = Array(200).fill('kind day '.repeat(100));
    const pending = classify({ texts });
    // The body has arrived by then, and the answer takes longer.
    await delay(50);
    const ended = stop();
    const answer = await pending;
    assert.equal(answer.status, 200);
    assert.equal(((await answer.json()) as { results: unknown[] }).results.length, 200);
    assert.equal(await ended, 0);
    assert.equal(requests().length, 1);
  });

  it('ends at once on a second signal', async (t) => {
    const { stop, process } = await startService(t, { DRAIN_DELAY_MS: '60000' });
    const ended = stop();
    await delay(700);
    process.kill('SIGTERM');
    assert.equal(await ended, 1);
  });

  it('treats Ctrl-C alike', async (t) => {
    const { stop } = await startService(t);
    assert.equal(await stop('SIGINT'), 0);
  });

  it('reaches the service through npm, and its exit code comes back', async (t) => {
    const { stop } = await startService(t, {}, ['npm', 'start']);
    assert.equal(await stop(), 0);
  });
});
