import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, test } from 'node:test';

import type { RequestStages } from '../../src/engine/types.ts';
import { startEngine } from '../fixtures/tiny-engine.ts';

interface Told {
  readonly event: { model: string; texts: number };
  /** What the caller's context was when the request was taken on. */
  readonly caller: string | undefined;
  readonly stages: RequestStages[];
}

const caller = new AsyncLocalStorage<string>();

async function watch(t: Parameters<typeof startEngine>[0], options: Parameters<typeof startEngine>[1] = {}) {
  const told: Told[] = [];
  const { engine } = await startEngine(t, {
    ...options,
    observer: {
      asked(event) {
        const one: Told = { event, caller: caller.getStore(), stages: [] };
        told.push(one);
        return (stages) => void one.stages.push(stages);
      },
    },
  });
  return { engine, told };
}

const ascending = (times: readonly (number | undefined)[]) =>
  times.every((time, k) => time !== undefined && (k === 0 || time >= (times[k - 1] as number)));

describe('stages of a request', () => {
  test('are told once, in order, in the context of whoever asked', async (t) => {
    const { engine, told } = await watch(t);
    const before = performance.now();
    const ask = (name: string, texts: string[]) => caller.run(name, () => engine.classify({ texts }));
    await Promise.all([ask('one', ['you are kind']), ask('two', ['idiot', 'stop it now', 'a lovely day'])]);
    assert.deepEqual(
      told.map(({ event, caller: who }) => [event.model, event.texts, who]),
      [
        ['tiny', 1, 'one'],
        ['tiny', 3, 'two'],
      ],
    );
    for (const { stages } of told) {
      assert.equal(stages.length, 1);
      const { begunMs, admittedMs, tokenizedMs, ranMs, queuedMs, endedMs, timing } = stages[0] as RequestStages;
      assert.ok(ascending([before, begunMs, admittedMs, tokenizedMs, ranMs, queuedMs, endedMs, performance.now()]));
      assert.ok(timing.tokenizeMs > 0 && timing.inferenceMs > 0);
    }
  });

  test('end where the request ends: at a bad text, a deadline, a client that leaves', async (t) => {
    const { engine, told } = await watch(t);
    await assert.rejects(engine.classify({ texts: ['kind', ' '] }), { code: 'empty_after_normalization' });
    await assert.rejects(engine.classify({ texts: ['kind'], timeoutMs: 0.01 }), { code: 'deadline_exceeded' });
    const client = new AbortController();
    const asked = engine.classify({ texts: ['you are kind'], signal: client.signal });
    client.abort(new Error('gone'));
    await assert.rejects(asked, /gone/);
    assert.equal(told.length, 3);
    for (const { stages } of told) {
      assert.equal(stages.length, 1);
      assert.equal(stages[0]?.ranMs, undefined);
    }
    assert.notEqual(told[0]?.stages[0]?.tokenizedMs, undefined);
    assert.equal(told[2]?.stages[0]?.tokenizedMs, undefined);
  });

  test('are of nothing that was refused', async (t) => {
    const { engine, told } = await watch(t, { queueWindows: 2 });
    const asked = Array.from({ length: 10 }, (_, k) => engine.classify({ texts: [`kind ${k}`, `lovely ${k}`] }));
    const refused = (await Promise.allSettled(asked)).filter(({ status }) => status === 'rejected').length;
    assert.ok(refused > 0 && refused < 10);
    assert.equal(told.length, 10 - refused);
  });
});
