/** Windows that wait for their turn, by model and length, the most urgent first. Pure. */

/** Which windows wait for which others: scheduler.ts says how. */
export type QueueName = 'short' | 'long' | 'bulk';

export interface Window<T> {
  /** Windows of different models never share a batch. */
  readonly model: string;
  /** Length in tokens, special tokens included. */
  readonly tokens: number;
  readonly queue: QueueName;
  /** Milliseconds of the scheduler's clock after which nobody waits for it. May be moved back while it waits. */
  deadline: number;
  readonly item: T;
}

export interface Waiting<T> {
  readonly window: Window<T>;
  /** Smaller is more urgent. */
  readonly due: number;
  /** Breaks ties. */
  readonly order: number;
  readonly since: number;
  /** Never shares a batch. */
  readonly alone: boolean;
}

/** Waiting windows of one model and one length, most urgent first. */
export type Bucket<T> = readonly Waiting<T>[];

export interface WindowQueue<T> {
  insert(entry: Waiting<T>): void;
  /** @param entry one that was inserted, and was not extracted since */
  extract(entry: Waiting<T>): void;
  /** @param serves whether a model's windows count */
  mostUrgent(serves: (model: string) => boolean): Waiting<T> | undefined;
  /** By length; of a model that has waiting windows. */
  buckets(model: string): ReadonlyMap<number, Bucket<T>>;
  /** Waiting tokens by model. */
  readonly tokens: ReadonlyMap<string, number>;
  readonly windows: number;
}

export function createWindowQueue<T>(): WindowQueue<T> {
  /** Model -> length -> bucket. Empty ones are deleted. */
  const models = new Map<string, Map<number, Waiting<T>[]>>();
  const tokens = new Map<string, number>();
  let windows = 0;

  return {
    insert(entry) {
      const { model, tokens: length } = entry.window;
      const buckets = models.get(model) ?? new Map<number, Waiting<T>[]>();
      models.set(model, buckets);
      const bucket = buckets.get(length) ?? [];
      buckets.set(length, bucket);
      bucket.splice(position(bucket, entry), 0, entry);
      tokens.set(model, (tokens.get(model) ?? 0) + length);
      windows++;
    },

    extract(entry) {
      const { model, tokens: length } = entry.window;
      const buckets = models.get(model) as Map<number, Waiting<T>[]>;
      const bucket = buckets.get(length) as Waiting<T>[];
      bucket.splice(position(bucket, entry), 1);
      windows--;
      tokens.set(model, (tokens.get(model) as number) - length);
      if (bucket.length > 0) return;
      buckets.delete(length);
      if (buckets.size > 0) return;
      models.delete(model);
      tokens.delete(model);
    },

    mostUrgent(serves) {
      let best: Waiting<T> | undefined;
      for (const [model, buckets] of models) {
        if (!serves(model)) continue;
        for (const bucket of buckets.values()) {
          const head = bucket[0] as Waiting<T>;
          if (best === undefined || precedes(head, best)) best = head;
        }
      }
      return best;
    },

    buckets: (model) => models.get(model) ?? new Map<number, Bucket<T>>(),

    tokens,
    get windows() {
      return windows;
    },
  };
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
