/** Loads that the simulation tries, and what must hold in them. */

/** Of a month, as service levels are kept. */
const MONTH_SECONDS = 30 * 24 * 3600;

export const OBJECTIVE = {
  /** Of a month's requests, answered in time; a 429 is a miss, whether or not the client tries again. */
  share: 0.999,
  /** What a client waits for an answer before it goes on without. */
  patienceSeconds: 0.8,
  /** Of the misses that a month may have, what one spike may take: three such spikes a month are borne. */
  spikeBudget: 1 / 3,
} as const;

/** Nothing here was measured. */
export const ASSUMPTIONS = {
  /** A base load that the least number of replicas carries at 45 % of its capacity. */
  baseUtilization: 0.45,
  spike: 10,
  spikeSeconds: 600,
  /** Before it, and after it. */
  beforeSeconds: 120,
  afterSeconds: 900,
  /** Scheduling, network, volumes and creating the container. */
  schedulingSeconds: 3,
  /** Pulling an image of 350 MB that the node does not have. */
  pullSeconds: 15,
  /** Until whoever spreads requests knows a pod that is ready. */
  endpointSeconds: 1,
  /** A node that must be had first. */
  nodeSeconds: 90,
  dollarsPerCoreHour: 0.05,
} as const;

export type Shape = 'step' | 'ramp of 1 minute' | 'ramp of 5 minutes';

const RAMP_SECONDS: Readonly<Record<Shape, number>> = { step: 0, 'ramp of 1 minute': 60, 'ramp of 5 minutes': 300 };

/** @returns requests a second at a time: the base load, the rise to ten times that, ten minutes of it, and back at once */
export function spikeLoad(base: number, shape: Shape): (now: number) => number {
  const { beforeSeconds, spike, spikeSeconds } = ASSUMPTIONS;
  const ramp = RAMP_SECONDS[shape];
  return (now) => {
    const since = now - beforeSeconds;
    if (since < 0 || since >= ramp + spikeSeconds) return base;
    return base * (since < ramp ? 1 + ((spike - 1) * since) / ramp : spike);
  };
}

export function secondsOf(shape: Shape): number {
  return ASSUMPTIONS.beforeSeconds + RAMP_SECONDS[shape] + ASSUMPTIONS.spikeSeconds + ASSUMPTIONS.afterSeconds;
}

/** Misses that a month of the base load may have. */
export function monthlyBudget(base: number): number {
  return (1 - OBJECTIVE.share) * base * MONTH_SECONDS;
}

export interface Scenario {
  readonly name: string;
  readonly scaler: 'hpa' | 'keda';
  readonly shape: Shape;
  readonly node: 'has the image' | 'pulls the image' | 'must be started';
  readonly retries: number;
  /** Instead of what the manifest says. */
  readonly minReplicas?: number;
  /** Starts of the random numbers, and so phases of scrapes and of the autoscaler. */
  readonly seeds: readonly number[];
}

const USUAL = { shape: 'step', node: 'pulls the image', retries: 0, seeds: [1] } as const;

export const SCENARIOS: readonly Scenario[] = [
  { ...USUAL, name: 'keda', scaler: 'keda', seeds: [1, 2, 3] },
  { ...USUAL, name: 'hpa', scaler: 'hpa', seeds: [1, 2, 3] },
  { ...USUAL, name: 'keda, image there', scaler: 'keda', node: 'has the image' },
  { ...USUAL, name: 'keda, new nodes', scaler: 'keda', node: 'must be started' },
  { ...USUAL, name: 'keda, clients try again', scaler: 'keda', retries: 2 },
  { ...USUAL, name: 'keda, 1 minute', scaler: 'keda', shape: 'ramp of 1 minute' },
  { ...USUAL, name: 'keda, 5 minutes', scaler: 'keda', shape: 'ramp of 5 minutes' },
  { ...USUAL, name: 'hpa, 5 minutes', scaler: 'hpa', shape: 'ramp of 5 minutes' },
  { ...USUAL, name: 'keda, 8 at least', scaler: 'keda', minReplicas: 8 },
  { ...USUAL, name: 'keda, 16 at least', scaler: 'keda', minReplicas: 16 },
];
