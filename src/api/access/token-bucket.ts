/** How much each of many clients may still take: a bucket each that fills at a steady pace. Memory is bounded. */
import { LRUCache } from 'lru-cache';

export interface BucketState {
  /** Whole units that may be taken now. */
  readonly remaining: number;
  /** Seconds until the bucket is full again. */
  readonly fullInSeconds: number;
}

export interface Buckets {
  readonly capacity: number;
  state(client: string): BucketState;
  /** Takes units, or nothing. @returns 0, or the seconds after which they can be had */
  take(client: string, units: number): number;
}

/** Clients that are remembered. One that is forgotten begins with a full bucket; some 200 bytes each. */
const CLIENTS = 50_000;

/**
 * @param capacity units that can be taken at once
 * @param seconds in which an empty bucket fills
 * @param now milliseconds of a clock that never goes back
 */
export function createBuckets(capacity: number, seconds: number, now: () => number = () => performance.now()): Buckets {
  const perMs = capacity / (seconds * 1000);
  const buckets = new LRUCache<string, { readonly level: number; readonly at: number }>({ max: CLIENTS });

  function level(client: string): number {
    const bucket = buckets.get(client);
    return bucket === undefined ? capacity : Math.min(capacity, bucket.level + (now() - bucket.at) * perMs);
  }

  return {
    capacity,
    state(client) {
      const present = level(client);
      return {
        remaining: Math.max(0, Math.floor(present)),
        fullInSeconds: Math.ceil((capacity - present) / perMs / 1000),
      };
    },
    take(client, units) {
      const present = level(client);
      // Who asks for more than a bucket holds needs a full one, and waits the longer afterwards.
      const missing = Math.min(units, capacity) - present;
      // Of what the clock's fractions leave.
      if (missing > 1e-9) return Math.max(1, Math.ceil(missing / perMs / 1000));
      buckets.set(client, { level: present - units, at: now() });
      return 0;
    },
  };
}
