import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import { createPace } from '../../src/engine/pace.ts';
import {
  BULK_TURN_MS,
  createScheduler,
  type QueueName,
  READY_BATCHES,
  type Scheduler,
  type SchedulerOptions,
  SHORT_EXPECTED_MS,
  SHORT_IN_A_ROW,
  type Window,
} from '../../src/engine/scheduler.ts';

const OPTIONS: SchedulerOptions = { batchTokens: 100, batchWindows: 8, pace: createPace() };
/** A worker with another one beside it that idles too. */
const TWO = { idle: 2, busy: 0 };
const ONE = { idle: 1, busy: 0 };

let named = 0;
const window = (tokens: number, model = 'a', queue: QueueName = 'short', deadline = Infinity): Window<number> => ({
  model,
  tokens,
  queue,
  deadline,
  item: named++,
});
const lengths = (windows: readonly Window<number>[] | undefined) => windows?.map(({ tokens }) => tokens);

describe('take', () => {
  test('nothing waits, nothing is taken', () => {
    assert.equal(createScheduler(OPTIONS).take(0, ONE), undefined);
  });

  test('groups similar lengths and leaves what would only be padding', () => {
    const scheduler = createScheduler<number>(OPTIONS);
    scheduler.offer(
      [10, 90, 11, 9, 88].map((tokens) => window(tokens)),
      0,
    );
    assert.deepEqual(lengths(scheduler.take(0, ONE)?.windows), [10, 11, 9]);
    assert.deepEqual(lengths(scheduler.take(0, ONE)?.windows), [90]);
    assert.deepEqual(lengths(scheduler.take(0, ONE)?.windows), [88]);
  });

  test('shares what waits among idle workers', () => {
    const scheduler = createScheduler<number>(OPTIONS);
    scheduler.offer(
      [10, 10, 10, 10].map((tokens) => window(tokens)),
      0,
    );
    assert.equal(scheduler.take(0, TWO)?.windows.length, 2);
    assert.equal(scheduler.take(0, ONE)?.windows.length, 2);
  });

  test('names the models that something waits for', () => {
    const scheduler = createScheduler<number>(OPTIONS);
    assert.deepEqual([...scheduler.models()], []);
    const other = window(10, 'b', 'bulk');
    scheduler.offer([window(10), window(5, 'a', 'long'), other], 0);
    assert.deepEqual([...scheduler.models()].sort(), ['a', 'b']);
    scheduler.remove([other]);
    assert.deepEqual([...scheduler.models()], ['a']);
  });

  test('keeps models apart, and skips those that the worker lacks', () => {
    const scheduler = createScheduler<number>(OPTIONS);
    scheduler.offer([window(10, 'a')], 0);
    scheduler.offer([window(10, 'b')], 1);
    assert.equal(scheduler.take(2, ONE, (model) => model === 'b')?.model, 'b');
    assert.equal(
      scheduler.take(2, ONE, (model) => model === 'b'),
      undefined,
    );
    assert.equal(scheduler.take(2, ONE)?.model, 'a');
  });

  test('a window longer than the budget runs by itself', () => {
    const scheduler = createScheduler<number>(OPTIONS);
    scheduler.offer([window(300), window(300)], 0);
    assert.deepEqual(lengths(scheduler.take(0, ONE)?.windows), [300]);
  });

  test('says how long each window waited and what is padded', () => {
    const scheduler = createScheduler<number>(OPTIONS);
    scheduler.offer([window(10)], 5);
    scheduler.offer([window(12)], 7);
    const batch = scheduler.take(10, ONE);
    assert.deepEqual(batch?.waitedMs, [5, 3]);
    assert.equal(batch?.longest, 12);
  });

  test('the end of a long request does not hold up a short one that comes after it', () => {
    const scheduler = createScheduler<number>(OPTIONS);
    scheduler.offer(
      Array.from({ length: 100 }, () => window(100)),
      0,
    );
    const late = window(10);
    scheduler.offer([late], 15);
    const order = Array.from({ length: 4 }, () => scheduler.take(20, ONE)?.windows);
    assert.ok(order.some((windows) => windows?.includes(late)));
  });
});

describe('giveBack', () => {
  test('windows run again before later ones, each alone', () => {
    const scheduler = createScheduler<number>(OPTIONS);
    const first = [window(10), window(10)];
    scheduler.offer(first, 0);
    scheduler.take(0, ONE);
    scheduler.offer([window(10)], 50);
    scheduler.giveBack(first, 60, true);
    assert.deepEqual(scheduler.take(60, ONE)?.windows, [first[0]]);
    assert.deepEqual(scheduler.take(60, ONE)?.windows, [first[1]]);
    assert.equal(scheduler.take(60, ONE)?.windows.length, 1);
  });

  test('a window that runs alone is not drawn into the batch of another', () => {
    const scheduler = createScheduler<number>(OPTIONS);
    const lost = window(10);
    scheduler.offer([window(10)], 0);
    scheduler.giveBack([lost], 10, true);
    assert.equal(scheduler.take(10, ONE)?.windows.includes(lost), false);
  });
});

test('remove frees what waits and ignores the rest', () => {
  const scheduler = createScheduler<number>(OPTIONS);
  const [running, waiting] = [window(300), window(20)];
  scheduler.offer([running, waiting], 0);
  scheduler.take(0, ONE);
  scheduler.remove([running, waiting, window(1)]);
  assert.equal(scheduler.windows, 0);
  assert.equal(scheduler.tokens, 0);
  assert.equal(scheduler.take(0, ONE), undefined);
});

test('drain empties the queue', () => {
  const scheduler = createScheduler<number>(OPTIONS);
  const windows = [window(5), window(6, 'b')];
  scheduler.offer(windows, 0);
  assert.deepEqual(new Set(scheduler.drain()), new Set(windows));
  assert.equal(scheduler.tokens, 0);
  assert.equal(scheduler.take(0, ONE), undefined);
});

describe('queues', () => {
  const offer = (scheduler: Scheduler<number>, queue: QueueName, count: number, now: number) => {
    const windows = Array.from({ length: count }, () => window(60, 'a', queue));
    for (const own of windows) scheduler.offer([own], now);
    return windows;
  };
  const queuesOf = (scheduler: Scheduler<number>, takes: number, now: number) =>
    Array.from({ length: takes }, () => scheduler.take(now, ONE)?.windows[0]?.queue);

  test('short texts go first, and while they wait long ones have every fourth batch', () => {
    const scheduler = createScheduler<number>(OPTIONS);
    offer(scheduler, 'long', 3, 0);
    offer(scheduler, 'short', 8, 1);
    assert.deepEqual(queuesOf(scheduler, 9, 2), [
      ...new Array(SHORT_IN_A_ROW).fill('short'),
      'long',
      ...new Array(SHORT_IN_A_ROW).fill('short'),
      'long',
      'short',
    ]);
  });

  test('bulk goes when nothing else waits, and once a turn when something does', () => {
    const scheduler = createScheduler<number>(OPTIONS);
    offer(scheduler, 'bulk', 4, 0);
    assert.deepEqual(queuesOf(scheduler, 1, 0), ['bulk']);
    offer(scheduler, 'short', 9, 1);
    assert.deepEqual(queuesOf(scheduler, 2, BULK_TURN_MS - 1), ['short', 'short']);
    assert.deepEqual(queuesOf(scheduler, 3, BULK_TURN_MS), ['bulk', 'short', 'short']);
    assert.deepEqual(queuesOf(scheduler, 2, 2 * BULK_TURN_MS), ['bulk', 'short']);
  });

  test('no batch holds windows of two queues', () => {
    const scheduler = createScheduler<number>(OPTIONS);
    for (const queue of ['short', 'long', 'bulk'] as const) scheduler.offer([window(10, 'a', queue)], 0);
    assert.deepEqual(
      [1, 2, 3].map(() => scheduler.take(0, ONE)?.windows.length),
      [1, 1, 1],
    );
  });

  test('while short texts keep coming, long ones leave the last free worker to them', () => {
    const scheduler = createScheduler<number>(OPTIONS);
    offer(scheduler, 'short', 1, 0);
    scheduler.take(0, TWO);
    offer(scheduler, 'long', 2, 1);
    const lastFree = { idle: 1, busy: 1 };
    assert.equal(scheduler.take(1, lastFree), undefined);
    assert.equal(scheduler.take(1, TWO)?.windows[0]?.queue, 'long');
    // With nobody else at work nobody would ask again.
    assert.equal(scheduler.take(1, ONE)?.windows[0]?.queue, 'long');
    offer(scheduler, 'long', 1, 2);
    assert.equal(scheduler.take(SHORT_EXPECTED_MS, lastFree)?.windows[0]?.queue, 'long');
  });
});

describe('a busy worker that wants its next batch at hand', () => {
  const next = { idle: 0, busy: 2 };
  const filled = (queue: QueueName) => {
    const scheduler = createScheduler<number>(OPTIONS);
    const tokens = READY_BATCHES * OPTIONS.batchTokens;
    scheduler.offer(
      Array.from({ length: tokens / 10 }, () => window(10, 'a', queue)),
      0,
    );
    return scheduler;
  };

  test('gets a full one of short texts, while enough of them wait', () => {
    const scheduler = filled('short');
    assert.equal(scheduler.take(0, next)?.windows.length, OPTIONS.batchWindows);
    assert.equal(scheduler.take(0, next), undefined);
  });

  test('gets none of long or bulk texts, also when it is their turn', () => {
    assert.equal(filled('long').take(0, next), undefined);
    assert.equal(filled('bulk').take(0, next), undefined);
    const scheduler = filled('short');
    scheduler.offer([window(90, 'a', 'bulk')], -BULK_TURN_MS);
    assert.equal(scheduler.take(0, next), undefined);
    assert.equal(scheduler.take(0, ONE)?.windows[0]?.queue, 'bulk');
  });
});

describe('deadlines', () => {
  const run = (tokens: number) => tokens + 12;
  const timed = {
    ...OPTIONS,
    pace: { runMs: (_: string, tokens: number) => run(tokens), tokensIn: (_: string, ms: number) => ms - 12 },
  };

  test('what can be answered in time stays, what cannot is dropped', () => {
    const scheduler = createScheduler<number>(timed);
    const [late, punctual] = [window(10, 'a', 'short', run(10) - 1), window(10, 'a', 'short', run(10))];
    scheduler.offer([late, punctual], 0);
    assert.deepEqual(scheduler.expire(0), [late]);
    assert.equal(scheduler.windows, 1);
    assert.deepEqual(scheduler.expire(1), [punctual]);
  });

  test('a batch takes no more rows than leave its windows in time', () => {
    const scheduler = createScheduler<number>(timed);
    const hurried = window(10, 'a', 'short', run(20));
    scheduler.offer([hurried, ...Array.from({ length: 4 }, () => window(10))], 0);
    assert.equal(scheduler.take(0, ONE)?.windows.length, 2);
    const other = window(10, 'a', 'short', run(20));
    scheduler.offer([other], 0, 100);
    assert.equal(scheduler.take(0, ONE)?.windows.length, 3);
    assert.deepEqual(scheduler.take(0, ONE)?.windows, [other]);
  });

  test('a deadline that is moved back counts', () => {
    const scheduler = createScheduler<number>(timed);
    const shared = window(10, 'a', 'short', 30);
    scheduler.offer([shared], 0);
    shared.deadline = 100;
    assert.deepEqual(scheduler.expire(50), []);
    assert.deepEqual(scheduler.expire(90), [shared]);
  });
});

/** What may happen to a scheduler, in any order. */
const event = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('offer' as const),
      tokens: fc.array(fc.integer({ min: 1, max: 140 }), { maxLength: 12 }),
      model: fc.constantFrom('a', 'b'),
      queue: fc.constantFrom('short' as const, 'long' as const, 'bulk' as const),
      patience: fc.oneof(fc.constant(Infinity), fc.integer({ min: 0, max: 400 })),
      alone: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('take' as const),
      idle: fc.integer({ min: 0, max: 4 }),
      busy: fc.integer({ min: 0, max: 2 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lose' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('expire' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('remove' as const), which: fc.nat() }) },
);

test('nothing is lost, doubled or late, and the budget is kept, whatever happens', () => {
  const rate = (model: string) => (model === 'a' ? 1 : 0.25);
  const pace = {
    runMs: (model: string, tokens: number) => 12 + rate(model) * tokens,
    tokensIn: (model: string, ms: number) => (ms - 12) / rate(model),
  };
  fc.assert(
    fc.property(fc.array(event, { maxLength: 80 }), (events) => {
      const scheduler = createScheduler<number>({ ...OPTIONS, pace });
      const waiting = new Set<Window<number>>();
      let running: readonly Window<number>[] = [];
      let now = 0;

      const expire = () => {
        const late = [...waiting].filter((own) => now + pace.runMs(own.model, own.tokens) > own.deadline);
        assert.deepEqual(new Set(scheduler.expire(now)), new Set(late));
        for (const own of late) waiting.delete(own);
      };
      const take = (idle: number, busy: number) => {
        expire();
        const batch = scheduler.take(now, { idle, busy });
        if (batch === undefined) {
          // A worker that is free goes without only while there are no short texts and somebody will ask again.
          const kept = busy > 0 && [...waiting].every(({ queue }) => queue !== 'short');
          assert.ok(waiting.size === 0 || idle === 0 || kept);
          return;
        }
        for (const taken of batch.windows) {
          assert.ok(waiting.delete(taken), 'taken twice, or never offered');
          assert.equal(taken.model, batch.model);
          assert.equal(taken.queue, batch.windows[0]?.queue);
        }
        const padded = batch.longest * batch.windows.length;
        assert.equal(batch.longest, Math.max(...batch.windows.map(({ tokens }) => tokens)));
        assert.ok(batch.windows.length === 1 || padded <= OPTIONS.batchTokens);
        assert.ok(batch.windows.length <= OPTIONS.batchWindows);
        const end = now + pace.runMs(batch.model, padded);
        for (const { deadline } of batch.windows)
          assert.ok(end <= deadline + 1e-9, 'its batch ends after its deadline');
        running = batch.windows;
      };

      for (const e of events) {
        now += 7;
        if (e.do === 'offer') {
          const windows = e.tokens.map((tokens) => window(tokens, e.model, e.queue, now + e.patience));
          scheduler.offer(windows, now, 0, e.alone);
          for (const added of windows) waiting.add(added);
        } else if (e.do === 'take') take(e.idle, e.busy);
        else if (e.do === 'expire') expire();
        else if (e.do === 'lose') {
          scheduler.giveBack(running, now, true);
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
      while (waiting.size > 0) take(1, 0);
    }),
    { numRuns: 500 },
  );
});

/** Takes batches while twice as much of `others` arrives as is taken away. @returns takes until `patient` goes */
function takesUntil(patient: Window<number>, others: () => Window<number>, scheduler: Scheduler<number>, step: number) {
  let now = 0;
  for (let takes = 1; takes < 100_000; takes++) {
    now += step;
    scheduler.offer([others()], now);
    scheduler.offer([others()], now);
    if (scheduler.take(now, ONE)?.windows.includes(patient)) return takes;
  }
  return Number.POSITIVE_INFINITY;
}

const length = fc.integer({ min: 1, max: 140 });
const queue = fc.constantFrom('short' as const, 'long' as const);

test('a text is taken in the end, however much of its kind keeps arriving', () => {
  fc.assert(
    fc.property(length, length, queue, fc.integer({ min: 0, max: 20 }), (own, others, kind, ahead) => {
      const scheduler = createScheduler<number>(OPTIONS);
      const patient = window(own, 'a', kind);
      scheduler.offer([...Array.from({ length: ahead }, () => window(others, 'a', kind)), patient], 0);
      const due = ahead * others * 0.1;
      const takes = takesUntil(patient, () => window(others, 'a', kind), scheduler, 1);
      // All that can be ahead: its own request's windows, and what came before its turn.
      assert.ok(takes <= ahead + 2 * (due + 1) + 2, `taken with batch ${takes}`);
    }),
  );
});

test('long texts are taken however many short ones arrive, bulk ones whatever arrives', () => {
  fc.assert(
    fc.property(length, length, queue, fc.integer({ min: 1, max: 50 }), (own, others, kind, step) => {
      const long = window(own, 'a', 'long');
      const behindShort = createScheduler<number>(OPTIONS);
      behindShort.offer([long], 0);
      assert.ok(takesUntil(long, () => window(others), behindShort, step) <= SHORT_IN_A_ROW + 1);

      const bulk = window(own, 'a', 'bulk');
      const behindAll = createScheduler<number>(OPTIONS);
      behindAll.offer([bulk], 0);
      const takes = takesUntil(bulk, () => window(others, 'a', kind), behindAll, step);
      assert.ok(takes <= Math.ceil(BULK_TURN_MS / step));
    }),
  );
});

test('an interactive text that waits no longer than a turn meets one batch of bulk at most', () => {
  fc.assert(
    fc.property(
      queue,
      length,
      fc.integer({ min: 1, max: 300 }),
      fc.array(length, { maxLength: 40 }),
      (kind, own, step, ahead) => {
        const scheduler = createScheduler<number>(OPTIONS);
        for (let i = 0; i < 50; i++) scheduler.offer([window(90, 'a', 'bulk')], 0);
        let now = 3 * BULK_TURN_MS;
        for (const tokens of ahead) scheduler.offer([window(tokens, 'a', kind)], now);
        const patient = window(own, 'a', kind);
        scheduler.offer([patient], now);
        const came = now;
        let bulkBatches = 0;
        for (;;) {
          const batch = scheduler.take(now, ONE);
          if (batch?.windows.includes(patient) || now - came >= BULK_TURN_MS) break;
          if (batch?.windows[0]?.queue === 'bulk') bulkBatches++;
          now += step;
        }
        assert.ok(bulkBatches <= 1);
      },
    ),
  );
});
