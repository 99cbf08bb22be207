/**
 * Which windows run next, together. Pure: no timers, no clock of its own, no processes.
 *
 * A free worker asks, and gets the best batch that waits at that moment; nothing is held back in the hope of more.
 * - Every batch is built around the most urgent window, so nothing starves: what arrives later cannot overtake for ever.
 * - It is filled with windows of the same model and of such lengths that most of the work is on real tokens.
 * - Rows x longest, the tokens that are really computed, stay within the budget.
 */

export interface Window<T> {
  /** Windows of different models never share a batch. */
  readonly model: string;
  /** Length in tokens, special tokens included. */
  readonly tokens: number;
  readonly item: T;
}

export interface Batch<T> {
  readonly model: string;
  /** Tokens of the longest window; the others are padded to it. */
  readonly longest: number;
  readonly windows: readonly Window<T>[];
  /** Milliseconds that each window waited, in the order of `windows`. */
  readonly waitedMs: readonly number[];
}

export interface SchedulerLimits {
  /** Tokens of one batch, padding included. A single window may exceed it. */
  readonly batchTokens: number;
  /** Windows of one batch. */
  readonly batchWindows: number;
  /** Windows that may wait. A request is admitted whole or not at all; one that finds nothing waiting always is. */
  readonly queueWindows: number;
  /** Tokens that may wait. */
  readonly queueTokens: number;
}

export interface Scheduler<T> {
  /**
   * Adds all windows of one request, or none.
   *
   * @param now milliseconds of a monotonic clock
   * @returns false when more would wait than the limits allow
   */
  offer(windows: readonly Window<T>[], now: number): boolean;
  /** Returns windows of a batch that was lost. They keep their place and run alone: one of them may be the cause. */
  giveBack(windows: readonly Window<T>[], now: number): void;
  /**
   * @param now milliseconds
   * @param idle workers that could take a batch now, the asking one included: what waits is shared among them
   * @param serves whether the asking worker has a model loaded
   */
  take(now: number, idle: number, serves?: (model: string) => boolean): Batch<T> | undefined;
  /** Forgets windows that still wait; others are ignored. */
  remove(windows: readonly Window<T>[]): void;
  /** Empties the queue. */
  drain(): Window<T>[];
  readonly windows: number;
  readonly tokens: number;
}

/**
 * What one run costs beside its tokens, in tokens: dispatching some hundred graph nodes costs as much as so many tokens
 * more. It decides when padding a short window is cheaper than a run of its own.
 */
const RUN_OVERHEAD_TOKENS = 12;

/**
 * The k-th window of a request counts as arrived this much later for each token before it, so a text of hundreds of
 * windows does not hold up the short ones that come just after it. About the speed of one core on a small model.
 */
const PACE_MS_PER_TOKEN = 0.1;

interface Waiting<T> {
  readonly window: Window<T>;
  /** Smaller is more urgent. */
  readonly due: number;
  readonly order: number;
  readonly since: number;
  readonly alone: boolean;
}

/** Waiting windows of one model and one length, most urgent first. */
type Bucket<T> = Waiting<T>[];

export function createScheduler<T>(limits: SchedulerLimits): Scheduler<T> {
  /** Model -> length -> bucket. Empty buckets are deleted. */
  const models = new Map<string, Map<number, Bucket<T>>>();
  const waiting = new Map<Window<T>, Waiting<T>>();
  /** Dues of windows that run, for when they come back. */
  const places = new WeakMap<Window<T>, { due: number; order: number }>();
  let tokens = 0;
  let order = 0;

  function insert(entry: Waiting<T>): void {
    const { model, tokens: length } = entry.window;
    const buckets = models.get(model) ?? new Map<number, Bucket<T>>();
    models.set(model, buckets);
    const bucket = buckets.get(length) ?? [];
    buckets.set(length, bucket);
    bucket.splice(position(bucket, entry), 0, entry);
    waiting.set(entry.window, entry);
    tokens += length;
  }

  function extract(entry: Waiting<T>): void {
    const { model, tokens: length } = entry.window;
    const buckets = models.get(model);
    const bucket = buckets?.get(length);
    if (buckets === undefined || bucket === undefined) return;
    bucket.splice(position(bucket, entry), 1);
    if (bucket.length === 0) buckets.delete(length);
    if (buckets.size === 0) models.delete(model);
    waiting.delete(entry.window);
    tokens -= length;
  }

  function mostUrgent(serves: (model: string) => boolean): Waiting<T> | undefined {
    let best: Waiting<T> | undefined;
    for (const [model, buckets] of models) {
      if (!serves(model)) continue;
      for (const bucket of buckets.values()) {
        const head = bucket[0] as Waiting<T>;
        if (best === undefined || precedes(head, best)) best = head;
      }
    }
    return best;
  }

  return {
    offer(windows, now) {
      const added = windows.reduce((sum, window) => sum + window.tokens, 0);
      const fits = waiting.size + windows.length <= limits.queueWindows && tokens + added <= limits.queueTokens;
      if (!fits && waiting.size > 0) return false;
      let before = 0;
      for (const window of windows) {
        insert({ window, due: now + before * PACE_MS_PER_TOKEN, order: order++, since: now, alone: false });
        before += window.tokens;
      }
      return true;
    },

    giveBack(windows, now) {
      for (const window of windows) {
        const place = places.get(window) ?? { due: now, order: order++ };
        insert({ window, ...place, since: now, alone: true });
      }
    },

    take(now, idle, serves = () => true) {
      const anchor = mostUrgent(serves);
      if (anchor === undefined) return undefined;
      const buckets = models.get(anchor.window.model) as Map<number, Bucket<T>>;
      const share = Math.ceil(tokens / Math.max(1, idle));
      const entries = anchor.alone ? [anchor] : fill(anchor, buckets, share, limits);
      for (const entry of entries) {
        extract(entry);
        places.set(entry.window, { due: entry.due, order: entry.order });
      }
      return {
        model: anchor.window.model,
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

    drain() {
      const all = [...waiting.keys()];
      models.clear();
      waiting.clear();
      tokens = 0;
      return all;
    },

    get windows() {
      return waiting.size;
    },
    get tokens() {
      return tokens;
    },
  };
}

/**
 * The rows around the anchor that make the most of a run: for each possible longest row, shorter ones join, longest
 * first, and the cut with the largest part of real tokens in the cost is kept.
 *
 * @param share real tokens after which no more rows join
 */
function fill<T>(
  anchor: Waiting<T>,
  buckets: ReadonlyMap<number, Bucket<T>>,
  share: number,
  limits: SchedulerLimits,
): Waiting<T>[] {
  const lengths = [...buckets.keys()].sort((a, b) => b - a);
  let best: Waiting<T>[] = [anchor];
  let bestGain = anchor.window.tokens / (anchor.window.tokens + RUN_OVERHEAD_TOKENS);

  for (const longest of lengths) {
    if (longest < anchor.window.tokens) break;
    const rows = Math.min(Math.floor(limits.batchTokens / longest), limits.batchWindows);
    if (rows < 2) continue;
    const chosen: Waiting<T>[] = [anchor];
    let real = anchor.window.tokens;
    let cut = 0;
    for (const length of lengths) {
      if (length > longest) continue;
      if (chosen.length >= rows) break;
      for (const entry of buckets.get(length) as Bucket<T>) {
        if (chosen.length >= rows) break;
        if (entry === anchor || entry.alone || real + length > share) continue;
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

function precedes<T>(a: Waiting<T>, b: Waiting<T>): boolean {
  return a.due < b.due || (a.due === b.due && a.order < b.order);
}

/** Where an entry is, or belongs, in its bucket. */
function position<T>(bucket: Bucket<T>, entry: Waiting<T>): number {
  let low = 0;
  let high = bucket.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (precedes(bucket[middle] as Waiting<T>, entry)) low = middle + 1;
    else high = middle;
  }
  return low;
}
