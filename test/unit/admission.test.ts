import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { createAdmission } from '../../src/engine/admission.ts';
import type { QueueName } from '../../src/engine/scheduler.ts';

const NOTHING = { texts: 0, characters: 0 };

interface Waits {
  /** Milliseconds of one worker's work, by queue. */
  work?: Partial<Record<QueueName, number>>;
  waiting?: Partial<Record<QueueName, { windows: number; tokens: number }>>;
  untokenized?: Partial<Record<QueueName, { texts: number; characters: number }>>;
}

/** Two workers that need a millisecond a token; a request may wait 100 ms. */
function admission({ work = {}, waiting = { short: { windows: 1, tokens: 0 } }, untokenized = {} }: Waits) {
  return createAdmission({
    scheduler: {
      waiting: (queue) => waiting[queue] ?? { windows: 0, tokens: 0 },
      workMs: (queue) => work[queue] ?? 0,
    },
    untokenized: (queue) => untokenized[queue] ?? NOTHING,
    pace: { runMs: (_model, tokens) => tokens },
    workers: () => 2,
    batchTokens: 192,
    queueWaitMs: 100,
    queueWindows: 50,
    queueTokens: 1_000,
    queueCharacters: 1_000,
  });
}

const asked = { model: 'm', queue: 'short', texts: 1, characters: 40, timeoutMs: 10_000 } as const;

describe('admission', () => {
  test('bounds the time that a request would wait, and says when the work ahead will be done', () => {
    assert.equal(admission({ work: { short: 200 } }).refuse(asked), undefined);
    assert.deepEqual(admission({ work: { short: 202 } }).refuse(asked), { reason: 'wait', retryAfterMs: 101 });
  });

  test('counts what is not tokenised yet, by the tokens that characters came to so far', () => {
    const own = admission({ untokenized: { short: { texts: 1, characters: 500 } } });
    assert.equal(own.refuse(asked), undefined);
    own.tokenized('m', 10, 10);
    assert.equal(own.refuse(asked)?.reason, 'wait');
  });

  test('counts only what goes first: short texts wait for no others, bulk ones for all', () => {
    const long = admission({ work: { long: 300 } });
    assert.equal(long.refuse(asked), undefined);
    assert.equal(long.refuse({ ...asked, queue: 'long' })?.reason, 'wait');
    const bulk = admission({ work: { bulk: 300 } });
    assert.equal(bulk.refuse({ ...asked, queue: 'long' }), undefined);
    assert.equal(bulk.refuse({ ...asked, queue: 'bulk', timeoutMs: 149 })?.reason, 'wait');
  });

  test('takes on bulk requests that may wait as long, and no request that may not', () => {
    const full = admission({ work: { short: 300 } });
    assert.equal(full.refuse({ ...asked, queue: 'bulk', timeoutMs: 150 }), undefined);
    assert.equal(admission({ work: { short: 100 } }).refuse({ ...asked, timeoutMs: 49 })?.reason, 'wait');
  });

  test('bounds windows, tokens and characters, and bulk requests at half of them', () => {
    const waiting = (windows: number, tokens = 0) => ({ waiting: { short: { windows, tokens } } });
    const bounds = (waits: Waits, change: object = {}) => admission(waits).refuse({ ...asked, ...change })?.reason;
    assert.equal(bounds(waiting(49)), undefined);
    assert.equal(bounds(waiting(50)), 'windows');
    assert.equal(bounds(waiting(25), { queue: 'bulk' }), 'windows');
    assert.equal(bounds(waiting(1, 985)), undefined);
    assert.equal(bounds(waiting(1, 990)), 'tokens');
    assert.equal(bounds(waiting(1, 495), { queue: 'bulk' }), 'tokens');
    assert.equal(bounds(waiting(1), { characters: 1_001 }), 'characters');
    assert.equal(bounds(waiting(1), { characters: 501, queue: 'bulk' }), 'characters');
  });

  test('takes on short texts however much of long or bulk ones waits', () => {
    const much = { windows: 10_000, tokens: 1_000_000 };
    const untokenized = { long: { texts: 1, characters: 1_000_000 } };
    const full = admission({ waiting: { short: { windows: 1, tokens: 9 }, long: much, bulk: much }, untokenized });
    assert.equal(full.refuse(asked), undefined);
    assert.notEqual(full.refuse({ ...asked, queue: 'long' }), undefined);
  });

  test('takes on any request that finds nothing ahead of it', () => {
    const idle = admission({ waiting: { bulk: { windows: 10, tokens: 100 } } });
    assert.equal(idle.refuse({ ...asked, texts: 10_000, characters: 10_000_000 }), undefined);
  });

  test('knows long texts by their characters', () => {
    const own = admission({});
    assert.deepEqual(
      [100, 10_000].map((longest) => own.queueOf('m', longest, false)),
      ['short', 'long'],
    );
    assert.equal(own.queueOf('m', 10_000, true), 'bulk');
  });
});
