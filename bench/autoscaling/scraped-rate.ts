/** `rate()` of Prometheus over what it scraped, with its extrapolation to the ends of the window. */
export interface Sample {
  readonly at: number;
  readonly value: number;
}

/** How much further than the usual gap an end may lie to be reached by extrapolation. */
const REACH = 1.1;

/** @param samples of one counter, oldest first @returns a second; undefined with fewer than two samples in the window */
export function rate(samples: readonly Sample[], now: number, windowSeconds: number): number | undefined {
  const from = now - windowSeconds;
  const inside = samples.filter(({ at }) => at > from && at <= now);
  const first = inside[0];
  const last = inside.at(-1);
  if (first === undefined || last === undefined || inside.length < 2) return undefined;
  const increase = last.value - first.value;
  const sampled = last.at - first.at;
  const gap = sampled / (inside.length - 1);
  const reach = (distance: number) => (distance < REACH * gap ? distance : gap / 2);
  let before = reach(first.at - from);
  // A counter cannot have been below zero.
  if (increase > 0) before = Math.min(before, (sampled * first.value) / increase);
  return (increase * (sampled + before + reach(now - last.at))) / sampled / windowSeconds;
}
