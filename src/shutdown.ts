/**
 * The order in which the process leaves: readiness turns away at once, requests are served while load balancers
 * look away, then the listener closes and what is in hand is answered.
 */
import { setTimeout as delay } from 'node:timers/promises';

import type { Lifecycle } from './lifecycle.ts';

export interface ShutdownSteps {
  readonly lifecycle: Lifecycle;
  /** Milliseconds. */
  readonly drainDelayMs: number;
  /** Stops listening, answers what is in hand, ends the workers. */
  close(): Promise<void>;
  exit(code: number): void;
}

/**
 * Milliseconds. A terminal sends Ctrl-C to every process of the group, and npm passes on its own copy:
 * that is one wish, not two.
 */
const SAME_SIGNAL_MS = 500;

/** @returns what to call on each signal: the first one leaves in order, a later one at once */
export function createShutdown({ lifecycle, drainDelayMs, close, exit }: ShutdownSteps): () => void {
  let begunAt: number | undefined;

  async function leave(): Promise<void> {
    lifecycle.drain();
    await delay(drainDelayMs);
    await close();
  }

  return () => {
    if (begunAt === undefined) {
      begunAt = performance.now();
      leave().then(
        () => exit(0),
        () => exit(1),
      );
    } else if (performance.now() - begunAt > SAME_SIGNAL_MS) {
      exit(1);
    }
  };
}
