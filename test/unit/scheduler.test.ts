import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import { createScheduler, type SchedulerLimits, type Window } from '../../src/engine/scheduler.ts';

const LIMITS: SchedulerLimits = { batchTokens: 100, batchWindows: 8, queueWindows: 1_000, queueTokens: 100_000 };

let named = 0;
const window = (tokens: number, model = 'a'): Window<number> => ({ model, tokens, item: named++ });
const lengths = (windows: readonly Window<number>[] | undefined) => windows?.map(({ tokens }) => tokens);

describe('take', () => {
  test('nothing waits, nothing is taken', () => {
    assert.equal(createScheduler(LIMITS).take(0, 1), undefined);
  });

  test('groups similar lengths and leaves what would only be padding', () => {
    const scheduler = createScheduler<number>(LIMITS);
    scheduler.offer(
      [10, 90, 11, 9, 88].map((tokens) => window(tokens)),
      0,
    );
    assert.deepEqual(lengths(scheduler.take(0, 1)?.windows), [10, 11, 9]);
    assert.deepEqual(lengths(scheduler.take(0, 1)?.windows), [90]);
    assert.deepEqual(lengths(scheduler.take(0, 1)?.windows), [88]);
  });

  test('shares what waits among idle workers', () => {
    const scheduler = createScheduler<number>(LIMITS);
    scheduler.offer(
      [10, 10, 10, 10].map((tokens) => window(tokens)),
      0,
    );
    assert.equal(scheduler.take(0, 2)?.windows.length, 2);
    assert.equal(scheduler.take(0, 1)?.windows.length, 2);
  });

  test('keeps models apart, and skips those that the worker lacks', () => {
    const scheduler = createScheduler<number>(LIMITS);
    scheduler.offer([window(10, 'a')], 0);
    scheduler.offer([window(10, 'b')], 1);
    assert.equal(scheduler.take(2, 1, (model) => model === 'b')?.model, 'b');
    assert.equal(
      scheduler.take(2, 1, (model) => model === 'b'),
      undefined,
    );
    assert.equal(scheduler.take(2, 1)?.model, 'a');
  });

  test('a window longer than the budget runs by itself', () => {
    const scheduler = createScheduler<number>(LIMITS);
    scheduler.offer([window(300), window(300)], 0);
    assert.deepEqual(lengths(scheduler.take(0, 1)?.windows), [300]);
  });

  test('says how long each window waited and what is padded', () => {
    const scheduler = createScheduler<number>(LIMITS);
    scheduler.offer([window(10)], 5);
    scheduler.offer([window(12)], 7);
    const batch = scheduler.take(10, 1);
    assert.deepEqual(batch?.waitedMs, [5, 3]);
    assert.equal(batch?.longest, 12);
  });

  test('the end of a long request does not hold up a short one that comes after it', () => {
    const scheduler = createScheduler<number>(LIMITS);
    scheduler.offer(
      Array.from({ length: 100 }, () => window(100)),
      0,
    );
    const late = window(10);
    scheduler.offer([late], 15);
    const order = Array.from({ length: 4 }, () => scheduler.take(20, 1)?.windows);
    assert.ok(order.some((windows) => windows?.includes(late)));
  });
});

describe('offer', () => {
  test('admits a request whole or not at all', () => {
    const scheduler = createScheduler<number>({ ...LIMITS, queueWindows: 3, queueTokens: 100 });
    assert.equal(scheduler.offer([window(10), window(10)], 0), true);
    assert.equal(scheduler.offer([window(10), window(10)], 0), false);
    assert.equal(scheduler.windows, 2);
    assert.equal(scheduler.offer([window(81)], 0), false);
    assert.equal(scheduler.offer([window(80)], 0), true);
    assert.equal(scheduler.tokens, 100);
  });

  test('admits what is larger than the queue when nothing waits', () => {
    const scheduler = createScheduler<number>({ ...LIMITS, queueWindows: 1 });
    assert.equal(scheduler.offer([window(10), window(10)], 0), true);
  });
});

describe('giveBack', () => {
  test('windows run again before later ones, each alone', () => {
    const scheduler = createScheduler<number>(LIMITS);
    const first = [window(10), window(10)];
    scheduler.offer(first, 0);
    scheduler.take(0, 1);
    scheduler.offer([window(10)], 50);
    scheduler.giveBack(first, 60);
    assert.deepEqual(scheduler.take(60, 1)?.windows, [first[0]]);
    assert.deepEqual(scheduler.take(60, 1)?.windows, [first[1]]);
    assert.equal(scheduler.take(60, 1)?.windows.length, 1);
  });

  test('a window that runs alone is not drawn into the batch of another', () => {
    const scheduler = createScheduler<number>(LIMITS);
    const lost = window(10);
    scheduler.offer([window(10)], 0);
    scheduler.giveBack([lost], 10);
    assert.equal(scheduler.take(10, 1)?.windows.includes(lost), false);
  });
});

test('remove frees what waits and ignores the rest', () => {
  const scheduler = createScheduler<number>(LIMITS);
  const [running, waiting] = [window(300), window(20)];
  scheduler.offer([running, waiting], 0);
  scheduler.take(0, 1);
  scheduler.remove([running, waiting, window(1)]);
  assert.equal(scheduler.windows, 0);
  assert.equal(scheduler.tokens, 0);
  assert.equal(scheduler.take(0, 1), undefined);
});

test('drain empties the queue', () => {
  const scheduler = createScheduler<number>(LIMITS);
  const windows = [window(5), window(6, 'b')];
  scheduler.offer(windows, 0);
  assert.deepEqual(new Set(scheduler.drain()), new Set(windows));
  assert.equal(scheduler.tokens, 0);
  assert.equal(scheduler.take(0, 1), undefined);
});

/** What may happen to a scheduler, in any order. */
const event = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('offer' as const),
      tokens: fc.array(fc.integer({ min: 1, max: 140 }), { maxLength: 12 }),
      model: fc.constantFrom('a', 'b'),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('take' as const), idle: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lose' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), which: fc.nat() }) },
);

test('nothing is lost, doubled or starved, and the budget is kept, whatever happens', () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 80 }), (events) => {
      const scheduler = createScheduler<number>({ ...LIMITS, queueWindows: 60, queueTokens: 2_000 });
      const waiting = new Set<Window<number>>();
      /** Takes that each waiting window may still have to watch: the windows ahead of it when it came. */
      const patience = new Map<Window<number>, number>();
      let running: readonly Window<number>[] = [];
      let now = 0;

      const take = (idle: number) => {
        const batch = scheduler.take(now, idle);
        assert.equal(batch === undefined, waiting.size === 0);
        if (batch === undefined) return;
        for (const taken of batch.windows) {
          assert.ok(waiting.delete(taken), 'taken twice, or never offered');
          assert.equal(taken.model, batch.model);
          patience.delete(taken);
        }
        const padded = batch.longest * batch.windows.length;
        assert.equal(batch.longest, Math.max(...batch.windows.map(({ tokens }) => tokens)));
        assert.ok(batch.windows.length === 1 || padded <= LIMITS.batchTokens);
        assert.ok(batch.windows.length <= LIMITS.batchWindows);
        running = batch.windows;
      };

      for (const e of events) {
        now += 1;
        if (e.do === 'offer') {
          const windows = e.tokens.map((tokens) => window(tokens, e.model));
          if (scheduler.offer(windows, now)) for (const added of windows) waiting.add(added);
        } else if (e.do === 'take') take(e.idle);
        else if (e.do === 'lose') {
          scheduler.giveBack(running, now);
          for (const lost of running) waiting.add(lost);
          running = [];
        } else {
          const some = [...waiting].filter((_, i) => i % 3 === e.which % 3);
          scheduler.remove(some);
          for (const removed of some) waiting.delete(removed);
        }
        assert.equal(scheduler.windows, waiting.size);
        assert.equal(
          scheduler.tokens,
          [...waiting].reduce((sum, { tokens }) => sum + tokens, 0),
        );
      }
      while (waiting.size > 0) take(1);
    }),
    { numRuns: 500 },
  );
});

test('a window is taken in the end, however much keeps arriving', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 140 }),
      fc.integer({ min: 1, max: 140 }),
      fc.integer({ min: 0, max: 20 }),
      (own, others, ahead) => {
        const scheduler = createScheduler<number>(LIMITS);
        const queue = Array.from({ length: ahead }, () => window(others));
        const patient = window(own);
        scheduler.offer([...queue, patient], 0);
        const due = ahead * others * 0.1;
        let now = 0;
        for (let takes = 0; ; takes++) {
          now += 1;
          // More arrives than one batch takes away, and it would fill every batch by itself.
          scheduler.offer([window(others)], now);
          scheduler.offer([window(others)], now);
          if (scheduler.take(now, 1)?.windows.includes(patient)) break;
          // All that can be ahead: its own request's windows, and what came before its turn.
          assert.ok(takes <= ahead + 2 * (due + 1) + 1, `not taken after ${takes} batches`);
        }
      },
    ),
  );
});
