/**
 * Remembers which texts were being worked on when a process died, and refuses those that had a part in two deaths.
 *
 * Keys are SHA-256 sums: nothing that somebody wrote is kept, and a sum can be logged.
 */
import { createHash } from 'node:crypto';

import { LRUCache } from 'lru-cache';

export interface Quarantine {
  /** False while nothing is remembered: then there is no need to compute a sum. */
  readonly active: boolean;
  /** Deaths so far, of a text that is remembered. */
  strikes(sum: string): number;
  /** Counts a death. @returns true when the text is refused from now on */
  strike(sum: string): boolean;
  /** The text ran, so the death had another cause. */
  clear(sum: string): void;
}

/** Deaths after which a text is refused. */
export const STRIKES = 2;
/** Texts that are remembered; the oldest is forgotten for a new one. */
const REMEMBERED = 1_000;
/** A text may run again after so long: a process can also die twice of something else. */
const FORGOTTEN_AFTER_MS = 600_000;

export function createQuarantine(): Quarantine {
  const counts = new LRUCache<string, number>({ max: REMEMBERED, ttl: FORGOTTEN_AFTER_MS });
  return {
    get active() {
      return counts.size > 0;
    },
    strikes: (sum) => counts.get(sum) ?? 0,
    strike(sum) {
      const count = (counts.get(sum) ?? 0) + 1;
      counts.set(sum, count);
      return count >= STRIKES;
    },
    clear: (sum) => void counts.delete(sum),
  };
}

/** @param content what a process is given: the text for a tokenizer, its ids for inference */
export function sumOf(model: string, content: string | Int32Array): string {
  return createHash('sha256').update(model).update('\0').update(content).digest('hex');
}
