/**
 * Which windows run next, together. Pure: no timers, no clock of its own, no processes.
 *
 * A free worker asks, and gets the best batch that waits at that moment; nothing is held back in the hope of more.
 * Windows wait in three queues, and a batch comes from one of them:
 * - `short`: interactive texts of at most one batch. They go first.
 * - `long`: interactive texts of more. While short texts wait, one batch in SHORT_IN_A_ROW + 1 is of long ones; and
 *   while short texts keep coming, long ones leave one free worker to them.
 * - `bulk`: goes when nothing else waits; when others do, one batch each BULK_TURN_MS.
 * Within a queue every batch is built around the most urgent window, so nothing starves: what arrives later cannot
 * overtake for ever. It is filled with windows of the same model and of such lengths that most of the work is on real
 * tokens; rows x longest, the tokens that are really computed, stay within the budget.
 */
import type { Pace } from './pace.ts';
import { type Bucket, createWindowQueue, type QueueName, type Waiting, type Window } from './window-queue.ts';

export type { QueueName, Window } from './window-queue.ts';

export interface Batch<T> {
  readonly model: string;
  /** Tokens of the longest window; the others are padded to it. */
  readonly longest: number;
  readonly windows: readonly Window<T>[];
  /** Milliseconds that each window waited, in the order of `windows`. */
  readonly waitedMs: readonly number[];
}

export interface SchedulerOptions {
  /** Tokens of one batch, padding included. A single window may exceed it. */
  readonly batchTokens: number;
  /** Windows of one batch. */
  readonly batchWindows: number;
  /** How long batches take, as measured. */
  readonly pace: Pick<Pace, 'runMs' | 'tokensIn'>;
}

export interface Workers {
  /**
   * That could take a batch now, the asking one included: what waits is shared among them. 0 when the asking one runs a
   * batch and wants the next one at hand: it gets short texts alone, and only while they fill more than a batch, since
   * what comes later would have had to wait for those all the same.
   */
  readonly idle: number;
  /** That run one now, and will ask when they have. */
  readonly busy: number;
}

export interface Scheduler<T> {
  /**
   * Adds windows of one text.
   *
   * @param now milliseconds of a monotonic clock
   * @param before tokens of the same request that come first
   * @param alone whether they must not share a batch
   */
  offer(windows: readonly Window<T>[], now: number, before?: number, alone?: boolean): void;
  /**
   * Returns windows of a batch that was lost. They keep their place.
   *
   * @param alone whether one of them may be the cause, so that they must not share a batch again
   */
  giveBack(windows: readonly Window<T>[], now: number, alone: boolean): void;
  /**
   * Windows that cannot be answered by their deadline any more, even if they ran now by themselves; forgets them.
   * To be called before `take`, which looks at deadlines only to shape the batch.
   */
  expire(now: number): Window<T>[];
  /**
   * @param now milliseconds
   * @param serves whether the asking worker has a model loaded
   */
  take(now: number, workers: Workers, serves?: (model: string) => boolean): Batch<T> | undefined;
  /** Forgets windows that still wait; others are ignored. */
  remove(windows: readonly Window<T>[]): void;
  /** Models that windows wait for. */
  models(): Iterable<string>;
  /** Forgets all windows of the models that `of` names, and returns them. */
  drain(of?: (model: string) => boolean): Window<T>[];
  /** Milliseconds that one worker needs for what waits in a queue, in full batches. */
  workMs(queue: QueueName): number;
  /** What waits in a queue. */
  waiting(queue: QueueName): { readonly windows: number; readonly tokens: number };
  readonly windows: number;
  readonly tokens: number;
}

/**
 * What one run costs beside its tokens, in tokens: dispatching some hundred graph nodes costs as much as so many tokens
 * more. It decides when padding a short window is cheaper than a run of its own.
 */
const RUN_OVERHEAD_TOKENS = 12;

/**
 * What comes after other tokens of its request counts as arrived this much later for each of them, so a request of
 * hundreds of texts does not hold up those that come just after it. About the speed of one core on a small model.
 */
const PACE_MS_PER_TOKEN = 0.1;

/** Batches of short texts after which a long one gets its turn. */
export const SHORT_IN_A_ROW = 3;

/** No shorter than what an interactive text may wait, so that it meets one batch of bulk at most beside the running one. */
export const BULK_TURN_MS = 1_000;

/** A busy worker is given its next batch when so many wait. */
export const READY_BATCHES = 2;

/** Short texts are expected while the last one came no longer ago. */
export const SHORT_EXPECTED_MS = 100;

export function createScheduler<T>(options: SchedulerOptions): Scheduler<T> {
  const { batchTokens, batchWindows, pace } = options;
  const queues = {
    short: createWindowQueue<T>(),
    long: createWindowQueue<T>(),
    bulk: createWindowQueue<T>(),
  } as const satisfies Record<QueueName, unknown>;
  const waiting = new Map<Window<T>, Waiting<T>>();
  /** Places of windows that run, for when they come back. */
  const places = new WeakMap<Window<T>, { due: number; order: number }>();
  let tokens = 0;
  let order = 0;
  let shortInARow = 0;
  let shortCame = Number.NEGATIVE_INFINITY;
  let bulkWent = Number.NEGATIVE_INFINITY;
  /** No waiting window has an earlier deadline, and none is longer: tells when looking at all of them is idle. */
  let soonest = Number.POSITIVE_INFINITY;
  let longest = 0;

  function insert(entry: Waiting<T>): void {
    const { window } = entry;
    queues[window.queue].insert(entry);
    waiting.set(window, entry);
    tokens += window.tokens;
    soonest = Math.min(soonest, window.deadline);
    longest = Math.max(longest, window.tokens);
  }

  function extract(entry: Waiting<T>): void {
    queues[entry.window.queue].extract(entry);
    waiting.delete(entry.window);
    tokens -= entry.window.tokens;
  }

  /** The window whose turn it is; undefined where it is better not to begin. */
  function choose(now: number, workers: Workers, serves: (model: string) => boolean): Waiting<T> | undefined {
    const turn = whoseTurn(now, workers, serves);
    if (workers.idle > 0 || turn === undefined) return turn;
    const { queue, model } = turn.window;
    const waits = queues[queue].tokens.get(model) as number;
    return queue === 'short' && waits >= READY_BATCHES * batchTokens ? turn : undefined;
  }

  function whoseTurn(now: number, { idle, busy }: Workers, serves: (model: string) => boolean): Waiting<T> | undefined {
    const short = queues.short.mostUrgent(serves);
    const long = queues.long.mostUrgent(serves);
    const bulk = queues.bulk.mostUrgent(serves);
    const higher = short ?? long;
    if (bulk !== undefined && (higher === undefined || now - Math.max(bulkWent, bulk.since) >= BULK_TURN_MS))
      return bulk;
    if (long === undefined) return short;
    if (short !== undefined) return shortInARow < SHORT_IN_A_ROW ? short : long;
    // Another worker is busy and asks again, so this one is kept free for no longer than a batch.
    const kept = idle <= 1 && busy > 0 && now - shortCame < SHORT_EXPECTED_MS;
    return kept ? undefined : long;
  }

  function countTurn(queue: QueueName, now: number): void {
    if (queue === 'bulk') bulkWent = now;
    else if (queue === 'long' || queues.long.windows === 0) shortInARow = 0;
    else shortInARow++;
  }

  /** The tokens that may be computed with the anchor so that it is answered in time, and when that would be. */
  function room({ window: { model, tokens: own, deadline } }: Waiting<T>, now: number) {
    const budget = Math.min(batchTokens, pace.tokensIn(model, deadline - now));
    return { budget, end: now + pace.runMs(model, Math.max(budget, own)) };
  }

  return {
    offer(windows, now, before = 0, alone = false) {
      let ahead = before;
      for (const window of windows) {
        insert({ window, due: now + ahead * PACE_MS_PER_TOKEN, order: order++, since: now, alone });
        ahead += window.tokens;
        if (window.queue === 'short') shortCame = now;
      }
    },

    giveBack(windows, now, alone) {
      for (const window of windows) {
        const place = places.get(window) ?? { due: now, order: order++ };
        insert({ window, ...place, since: now, alone });
      }
    },

    expire(now) {
      const late = ({ model, tokens: length, deadline }: Window<T>) => now + pace.runMs(model, length) > deadline;
      const slowest = Object.values(queues).flatMap((queue) =>
        [...queue.tokens.keys()].map((m) => pace.runMs(m, longest)),
      );
      if (now + Math.max(0, ...slowest) <= soonest) return [];
      const expired: Window<T>[] = [];
      soonest = Number.POSITIVE_INFINITY;
      longest = 0;
      for (const entry of [...waiting.values()]) {
        if (late(entry.window)) {
          extract(entry);
          expired.push(entry.window);
        } else {
          soonest = Math.min(soonest, entry.window.deadline);
          longest = Math.max(longest, entry.window.tokens);
        }
      }
      return expired;
    },

    take(now, workers, serves = () => true) {
      const anchor = choose(now, workers, serves);
      if (anchor === undefined) return undefined;
      const { model, queue } = anchor.window;
      countTurn(queue, now);
      const { budget, end } = room(anchor, now);
      const share = Math.ceil((queues[queue].tokens.get(model) as number) / Math.max(1, workers.idle));
      const joins = ({ alone, window }: Waiting<T>) => !alone && window.deadline >= end;
      const entries = anchor.alone
        ? [anchor]
        : fill(anchor, queues[queue].buckets(model), { tokens: budget, windows: batchWindows, share, joins });
      for (const entry of entries) {
        extract(entry);
        places.set(entry.window, { due: entry.due, order: entry.order });
      }
      return {
        model,
        longest: Math.max(...entries.map((entry) => entry.window.tokens)),
        windows: entries.map((entry) => entry.window),
        waitedMs: entries.map((entry) => now - entry.since),
      };
    },

    remove(windows) {
      for (const window of windows) {
        const entry = waiting.get(window);
        if (entry !== undefined) extract(entry);
      }
    },

    models: () => new Set(Object.values(queues).flatMap((queue) => [...queue.tokens.keys()])),

    drain(of = () => true) {
      const entries = [...waiting.values()].filter(({ window }) => of(window.model));
      for (const entry of entries) extract(entry);
      return entries.map(({ window }) => window);
    },

    workMs(queue) {
      let ms = 0;
      for (const [model, waitingTokens] of queues[queue].tokens)
        ms += (waitingTokens / batchTokens) * pace.runMs(model, batchTokens);
      return ms;
    },

    waiting(queue) {
      let own = 0;
      for (const ofModel of queues[queue].tokens.values()) own += ofModel;
      return { windows: queues[queue].windows, tokens: own };
    },
    get windows() {
      return waiting.size;
    },
    get tokens() {
      return tokens;
    },
  };
}

interface Room<T> {
  /** Padding counted. */
  readonly tokens: number;
  readonly windows: number;
  /** Real tokens after which no more rows join. */
  readonly share: number;
  readonly joins: (entry: Waiting<T>) => boolean;
}

/**
 * The rows around the anchor that make the most of a run: for each possible longest row, shorter ones join, longest
 * first, and the cut with the largest part of real tokens in the cost is kept.
 */
function fill<T>(anchor: Waiting<T>, buckets: ReadonlyMap<number, Bucket<T>>, room: Room<T>): Waiting<T>[] {
  const lengths = [...buckets.keys()].sort((a, b) => b - a);
  let best: Waiting<T>[] = [anchor];
  let bestGain = anchor.window.tokens / (anchor.window.tokens + RUN_OVERHEAD_TOKENS);

  for (const longest of lengths) {
    if (longest < anchor.window.tokens) break;
    const rows = Math.min(Math.floor(room.tokens / longest), room.windows);
    if (rows < 2) continue;
    const chosen: Waiting<T>[] = [anchor];
    let real = anchor.window.tokens;
    let cut = 0;
    for (const length of lengths) {
      if (length > longest) continue;
      if (chosen.length >= rows) break;
      for (const entry of buckets.get(length) as Bucket<T>) {
        if (chosen.length >= rows) break;
        if (entry === anchor || !room.joins(entry) || real + length > room.share) continue;
        chosen.push(entry);
        real += length;
      }
      const gain = real / (chosen.length * longest + RUN_OVERHEAD_TOKENS);
      if (gain > bestGain) {
        bestGain = gain;
        best = chosen;
        cut = chosen.length;
      }
    }
    if (best === chosen) best = chosen.slice(0, cut);
  }
  return best;
}
