import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { createLifecycle } from '../../src/lifecycle.ts';
import { createShutdown } from '../../src/shutdown.ts';

function prepare(drainDelayMs: number, close: () => Promise<void> = async () => {}) {
  const lifecycle = createLifecycle();
  const events: string[] = [];
  const exited = Promise.withResolvers<void>();
  const signal = createShutdown({
    lifecycle,
    drainDelayMs,
    async close() {
      events.push('close');
      await close();
    },
    exit(code) {
      events.push(`exit ${code}`);
      exited.resolve();
    },
  });
  return { lifecycle, events, exited: exited.promise, signal };
}

describe('shutdown', () => {
  it('drains at once, closes after the delay, then exits with 0', async () => {
    const { lifecycle, events, exited, signal } = prepare(60);
    signal();
    assert.equal(lifecycle.draining, true);
    await delay(20);
    assert.deepEqual(events, []);
    await exited;
    assert.deepEqual(events, ['close', 'exit 0']);
  });

  it('takes copies of one signal as one', async () => {
    const { events, exited, signal } = prepare(10);
    signal();
    signal();
    await exited;
    assert.deepEqual(events, ['close', 'exit 0']);
  });

  it('exits at once on a second signal', async () => {
    const { events, signal } = prepare(2_000);
    signal();
    await delay(550);
    signal();
    assert.deepEqual(events, ['exit 1']);
  });

  it('exits with 1 when closing fails', async () => {
    const { events, exited, signal } = prepare(0, () => Promise.reject(new Error('stuck')));
    signal();
    await exited;
    assert.deepEqual(events, ['close', 'exit 1']);
  });
});
