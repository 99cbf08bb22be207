/** How fast models run on this machine now, measured on the batches themselves. */
import { RUN_OVERHEAD_TOKENS } from './scheduler.ts';

export interface Pace {
  /**
   * @param tokens that the graph ran on, padding counted
   * @param ms from when the batch was sent until its answers were there
   */
  ran(model: string, tokens: number, ms: number): void;
  /** Milliseconds a worker needs for a token; 0 before the first batch. */
  msPerToken(model: string): number;
}

/** Weight of the newest batch: the estimate follows the last twenty or so, a fraction of a second under load. */
const NEWEST = 0.05;

export function createPace(): Pace {
  const models = new Map<string, number>();
  return {
    ran(model, tokens, ms) {
      const measured = ms / (tokens + RUN_OVERHEAD_TOKENS);
      const before = models.get(model) ?? measured;
      models.set(model, before + NEWEST * (measured - before));
    },
    msPerToken: (model) => models.get(model) ?? 0,
  };
}
