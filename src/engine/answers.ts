/**
 * What texts come to: each text that somebody waits for is computed once, however many wait, and goes on only while
 * somebody does. Answers may be kept for the next who asks.
 *
 * Texts are the same when they have the same token ids for the same loaded model; the ids themselves are the key, so
 * nothing can collide. A graph whose answers depend on the batch (its manifest says so) shares nothing: there, each
 * text has an answer of its own.
 */
import { LRUCache } from 'lru-cache';
import type { Model } from './bring-up.ts';
import { combineWindows } from './combine.ts';
import type { PoolEvents } from './inference-pool.ts';
import type { Pace } from './pace.ts';
import { type Quarantine, STRIKES, sumOf } from './quarantine.ts';
import type { QueueName, Scheduler, Window } from './scheduler.ts';
import type { EngineObserver, TextResult, WindowResult } from './types.ts';
import { cutWindows, textTokens } from './windows.ts';

export interface Answered {
  readonly result: TextResult;
  /** Milliseconds: the longest wait of its windows, and its shares of the batches. */
  readonly waitedMs: number;
  readonly inferenceMs: number;
}

export interface Unanswered {
  readonly failure: 'inference_failed' | 'quarantined' | 'deadline_exceeded';
}

export interface Wish {
  readonly queue: QueueName;
  /** Comparable with `performance.now()`. */
  readonly deadline: number;
  /** Tokens of the same request that come first. */
  readonly before: number;
}

export interface Answers {
  /**
   * Offers what is to be computed to the scheduler; waking the pool is the caller's part.
   *
   * @param ids of the whole text, without special tokens
   * @param done called once unless the caller leaves; at once when the outcome is known
   * @returns a function for a caller that does not wait any more
   */
  ask(model: Model, ids: Int32Array, wish: Wish, done: (outcome: Answered | Unanswered) => void): () => void;
  /** What the inference pool is to tell. */
  readonly events: PoolEvents<Item>;
}

/** One window on its way. */
export interface Item {
  readonly ids: Int32Array;
  readonly text: Computation;
  readonly index: number;
}

interface Computation {
  readonly model: Model;
  readonly ids: Int32Array;
  readonly queue: QueueName;
  /** Undefined where nothing is shared. */
  readonly key: string | undefined;
  readonly windows: Window<Item>[];
  readonly outputs: WindowResult[];
  readonly waiters: Set<(outcome: Answered | Unanswered) => void>;
  pending: number;
  settled: boolean;
  waitedMs: number;
  inferenceMs: number;
}

/** Bytes of a kept answer beside its key and numbers, about. */
const ENTRY_BYTES = 400;

export function createAnswers(options: {
  readonly scheduler: Scheduler<Item>;
  readonly quarantine: Quarantine;
  /** A text is refused from now on. */
  readonly quarantined: (model: string, sum: string) => void;
  readonly pace: Pace;
  /** Of kept answers, about; 0 keeps none. */
  readonly cacheBytes: number;
  readonly observer: Partial<EngineObserver>;
}): Answers {
  const { scheduler, quarantine, pace, observer } = options;
  const inFlight = new Map<string, Computation>();
  const kept =
    options.cacheBytes === 0
      ? undefined
      : new LRUCache<string, TextResult>({ maxSize: options.cacheBytes, sizeCalculation: sizeOf });

  function settle(text: Computation, outcome: Answered | Unanswered): void {
    abandon(text);
    for (const done of text.waiters) done(outcome);
  }

  function abandon(text: Computation): void {
    text.settled = true;
    scheduler.remove(text.windows);
    if (text.key !== undefined && inFlight.get(text.key) === text) inFlight.delete(text.key);
  }

  function complete(text: Computation): void {
    const { model, ids, outputs, key, waitedMs, inferenceMs } = text;
    const result = combineWindows(outputs, model.positive, textTokens(ids, model.served.manifest.input));
    if (quarantine.active) quarantine.clear(sumOf(model.key, ids));
    if (key !== undefined) kept?.set(key, result);
    settle(text, { result, waitedMs, inferenceMs });
  }

  function compute(model: Model, ids: Int32Array, key: string | undefined, wish: Wish, alone: boolean): Computation {
    const { queue, deadline, before } = wish;
    const cut = cutWindows(ids, model.served.manifest.input);
    const text: Computation = {
      model,
      ids,
      queue,
      key,
      windows: [],
      outputs: new Array<WindowResult>(cut.length),
      waiters: new Set(),
      pending: cut.length,
      settled: false,
      waitedMs: 0,
      inferenceMs: 0,
    };
    for (const [index, own] of cut.entries())
      text.windows.push({ model: model.key, tokens: own.length, queue, deadline, item: { ids: own, text, index } });
    scheduler.offer(text.windows, performance.now(), before, alone);
    if (key !== undefined) inFlight.set(key, text);
    return text;
  }

  /** Interactive texts do not wait for one that is computed as bulk. */
  function shared(key: string, { queue, deadline }: Wish): Computation | undefined {
    const text = inFlight.get(key);
    if (text === undefined || (text.queue === 'bulk' && queue !== 'bulk')) return undefined;
    for (const window of text.windows) window.deadline = Math.max(window.deadline, deadline);
    return text;
  }

  const told = (model: Model, source: 'computed' | 'shared' | 'cached') =>
    observer.answered?.({ model: model.served.name, source });

  return {
    ask(model, ids, wish, done) {
      const key = isShared(model) ? `${model.key} ${bytesOf(ids)}` : undefined;
      const known = key === undefined ? undefined : kept?.get(key);
      if (known !== undefined) {
        told(model, 'cached');
        done({ result: known, waitedMs: 0, inferenceMs: 0 });
        return () => {};
      }
      const strikes = quarantine.active ? quarantine.strikes(sumOf(model.key, ids)) : 0;
      if (strikes >= STRIKES) {
        done({ failure: 'quarantined' });
        return () => {};
      }
      const other = key === undefined ? undefined : shared(key, wish);
      told(model, other === undefined ? 'computed' : 'shared');
      const text = other ?? compute(model, ids, key, wish, strikes > 0);
      // One function may wait twice, for two equal texts.
      const waiter = (outcome: Answered | Unanswered) => done(outcome);
      text.waiters.add(waiter);
      return () => {
        text.waiters.delete(waiter);
        if (text.waiters.size === 0 && !text.settled) abandon(text);
      };
    },

    events: {
      taken(batch) {
        const model = nameOf(batch.model);
        for (const [i, { item }] of batch.windows.entries()) {
          const waited = batch.waitedMs[i] as number;
          item.text.waitedMs = Math.max(item.text.waitedMs, waited);
          observer.queued?.({ model, seconds: waited / 1000 });
        }
      },
      finished({ model, windows, longest }, { seconds }, ms) {
        const paddedTokens = longest * windows.length;
        pace.ran(model, paddedTokens, ms);
        const tokens = windows.reduce((sum, window) => sum + window.tokens, 0);
        observer.batch?.({ model: nameOf(model), windows: windows.length, tokens, paddedTokens, seconds });
      },
      ran({ item: { text, index }, tokens }, output, seconds) {
        text.inferenceMs += seconds * 1000;
        text.outputs[index] = { tokens, ...output };
        text.pending--;
        if (text.pending === 0 && !text.settled) complete(text);
      },
      wanted: ({ item }) => !item.text.settled,
      failed({ item: { text } }) {
        if (!text.settled) settle(text, { failure: 'inference_failed' });
      },
      late({ item: { text } }) {
        if (!text.settled) settle(text, { failure: 'deadline_exceeded' });
      },
      lost(windows) {
        for (const { model, ids } of new Set(windows.map(({ item }) => item.text))) {
          const sum = sumOf(model.key, ids);
          if (quarantine.strike(sum)) options.quarantined(model.key, sum);
        }
      },
    },
  };
}

/** `name@version#number` -> name */
export const nameOf = (key: string) => key.slice(0, key.indexOf('@'));

function isShared({ served: { manifest, graph } }: Model): boolean {
  return manifest.graphs.find(({ file }) => file === graph)?.batchInvariant === true;
}

/** A string of the ids' bytes: equal for equal ids and for no others. */
function bytesOf(ids: Int32Array): string {
  return Buffer.from(ids.buffer, ids.byteOffset, ids.byteLength).toString('latin1');
}

function sizeOf({ windows }: TextResult, key: string): number {
  const numbers = windows.reduce((sum, { probabilities, gates }) => sum + probabilities.length + gates.length, 0);
  return key.length + 8 * numbers + ENTRY_BYTES * windows.length;
}
