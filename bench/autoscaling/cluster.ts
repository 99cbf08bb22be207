/**
 * A deployment under a load that changes: pods start and leave, requests are spread among those that are ready, metrics are
 * collected as late as they are in a cluster, and the autoscaler acts on them.
 */
import { createRandom } from '../random.ts';
import { createLimits, desiredBySum, desiredByUse, desiredByValue, type PodUse } from './autoscaler.ts';
import { createReplica, type Replica, type ReplicaModel } from './replica.ts';
import type { Deployed, ScalingRules } from './scaling-rules.ts';
import { rate, type Sample } from './scraped-rate.ts';

export interface ClusterOptions {
  readonly model: ReplicaModel;
  readonly meanTokens: number;
  readonly deployed: Deployed;
  /** From the decision for a pod until it is ready and known to whoever spreads requests. */
  readonly podStartSeconds: number;
  /** Requests a second at a time; one text each. */
  readonly load: (now: number) => number;
  readonly seconds: number;
  /** How often a client that was refused asks again, after Retry-After and up to as long again. */
  readonly retries: number;
  /** Of an answer in time. */
  readonly patienceSeconds: number;
  readonly seed: number;
}

export interface ClusterReport {
  /** First attempts. */
  readonly requests: number;
  /** First attempts that were refused. */
  readonly refused: number;
  /** Answers later than the client's patience. */
  readonly late: number;
  /** Requests that no attempt brought an answer. */
  readonly unanswered: number;
  readonly latencySeconds: (q: number) => number;
  /** Share of the answers that took longer. */
  readonly slowerThan: (seconds: number) => number;
  readonly timeline: readonly Moment[];
  readonly replicaSeconds: number;
}

/** Five seconds. Rates a second. */
export interface Moment {
  readonly at: number;
  readonly offered: number;
  readonly answered: number;
  readonly refused: number;
  readonly ready: number;
  readonly wanted: number;
  /** Milliseconds; 0 without answers. */
  readonly p99: number;
}

const STEP_SECONDS = 0.05;
const SYNC_SECONDS = 15;
/** How often metrics-server asks the nodes, whose own figures are as old as that. */
const METRICS_SERVER_SECONDS = 15;
const MOMENT_SECONDS = 5;
const RETRY_AFTER_SECONDS = 1;
/** A histogram of latencies, in milliseconds. */
const LONGEST_MS = 20_000;

interface Pod {
  readonly readyAt: number;
  readonly replica: Replica;
  /** Of scrapes; none before the first refusal, as the counter does not exist before. */
  readonly scraped: Record<'taken' | 'refused' | 'waits' | 'waitSeconds', Sample[]>;
  readonly cpu: Sample[];
  nextScrape: number;
}

export function simulate(options: ClusterOptions): ClusterReport {
  const { deployed, seconds, seed, patienceSeconds } = options;
  const { rules } = deployed;
  const random = createRandom(seed);
  const limits = createLimits(rules);
  const scrapeSeconds = rules.metric.kind === 'load' ? rules.metric.scrapeSeconds : Number.POSITIVE_INFINITY;
  let pods: Pod[] = [];
  let pending: { readonly at: number; readonly attempt: number }[] = [];
  let born = 0;
  const startPod = (readyAt: number) => {
    const replica = createReplica(options.model, {
      queueWaitSeconds: deployed.queueWaitSeconds,
      seed: seed * 1000 + ++born,
    });
    const nextScrape = readyAt + random() * scrapeSeconds;
    pods.push({
      readyAt,
      replica,
      nextScrape,
      cpu: [],
      scraped: { taken: [], refused: [], waits: [], waitSeconds: [] },
    });
  };
  for (let i = 0; i < rules.minReplicas; i++) startPod(0);

  let nextSync = random() * SYNC_SECONDS;
  let nextCpu = random() * METRICS_SERVER_SECONDS;
  const latencies = new Uint32Array(LONGEST_MS + 1);
  const recent: number[] = [];
  const timeline: Moment[] = [];
  const totals = { requests: 0, refused: 0, late: 0, unanswered: 0, answered: 0, replicaSeconds: 0 };
  let moment = { offered: 0, answered: 0, refused: 0 };

  function attempt(now: number, ready: readonly Pod[], tries: number): void {
    moment.offered++;
    const pod = ready[Math.floor(random() * ready.length)] as Pod;
    const latency = pod.replica.offer(now);
    if (latency === undefined) {
      moment.refused++;
      if (tries === 0) totals.refused++;
      if (tries >= options.retries) totals.unanswered++;
      else pending.push({ at: now + RETRY_AFTER_SECONDS * (1 + random()), attempt: tries + 1 });
      return;
    }
    moment.answered++;
    totals.answered++;
    const ms = Math.min(LONGEST_MS, Math.round(latency * 1000));
    latencies[ms] = (latencies[ms] as number) + 1;
    recent.push(latency);
    if (latency > patienceSeconds) totals.late++;
  }

  for (let step = 0; step * STEP_SECONDS < seconds; step++) {
    const now = step * STEP_SECONDS;
    const ready = pods.filter(({ readyAt }) => readyAt <= now);
    const arrivals = poisson(options.load(now) * STEP_SECONDS, random);
    const due = pending.filter(({ at }) => at <= now);
    if (due.length > 0) pending = pending.filter(({ at }) => at > now);
    const times = Float64Array.from({ length: arrivals }, () => now + random() * STEP_SECONDS).sort();
    totals.requests += arrivals;
    for (const { attempt: tries } of due) attempt(now, ready, tries);
    for (const at of times) attempt(at, ready, 0);
    totals.replicaSeconds += pods.length * STEP_SECONDS;

    for (const pod of ready) if (now >= pod.nextScrape) scrape(pod, now, scrapeSeconds);
    if (now >= nextCpu) {
      nextCpu += METRICS_SERVER_SECONDS;
      for (const pod of ready) keep(pod.cpu, { at: now, value: pod.replica.counters.cpuSeconds });
    }
    if (now >= nextSync) {
      nextSync += SYNC_SECONDS;
      const next = limits.next(now, pods.length, desired(rules, options.meanTokens, pods, now));
      while (pods.length < next) startPod(now + options.podStartSeconds);
      // Pods that are not ready go first, then the youngest.
      if (next < pods.length) pods = pods.toSorted((a, b) => a.readyAt - b.readyAt).slice(0, next);
    }
    if ((step + 1) % Math.round(MOMENT_SECONDS / STEP_SECONDS) === 0) {
      const per = (count: number) => count / MOMENT_SECONDS;
      recent.sort((a, b) => a - b);
      timeline.push({
        at: Math.round(now - MOMENT_SECONDS + STEP_SECONDS),
        offered: per(moment.offered),
        answered: per(moment.answered),
        refused: per(moment.refused),
        ready: ready.length,
        wanted: pods.length,
        p99: Math.round(1000 * (recent[Math.floor(0.99 * recent.length)] ?? 0)),
      });
      moment = { offered: 0, answered: 0, refused: 0 };
      recent.length = 0;
    }
  }
  return {
    ...totals,
    timeline,
    latencySeconds: (q) => quantileOf(latencies, q),
    slowerThan: (s) => above(latencies, s),
  };
}

function scrape(pod: Pod, now: number, scrapeSeconds: number): void {
  pod.nextScrape += scrapeSeconds;
  const { counters } = pod.replica;
  for (const [name, samples] of Object.entries(pod.scraped) as [keyof Pod['scraped'], Sample[]][])
    if (counters[name] > 0) keep(samples, { at: now, value: counters[name] });
}

/** The last minute or so. */
function keep(samples: Sample[], sample: Sample): void {
  samples.push(sample);
  if (samples.length > 15) samples.shift();
}

function desired({ metric }: ScalingRules, meanTokens: number, pods: readonly Pod[], now: number): number {
  const ready = pods.filter(({ readyAt }) => readyAt <= now);
  if (metric.kind === 'cpu') {
    const uses = pods.map((pod) => useOf(pod, metric.requestedCores));
    return desiredByUse(pods.length, uses, metric.utilization);
  }
  const sum = (name: keyof Pod['scraped']) =>
    ready.reduce((total, pod) => total + (rate(pod.scraped[name], now, metric.windowSeconds) ?? 0), 0);
  // The queries of the ScaledObject; test/k8s shows with promtool that they compute this.
  const load = sum('taken') * meanTokens * (1 + sum('refused') / Math.max(1, sum('taken')));
  const wait = Math.min(metric.waitAtMost, sum('waitSeconds') / Math.max(1, sum('waits')) / metric.waitSeconds);
  return Math.max(
    desiredBySum(pods.length, load, metric.tokensPerSecond),
    desiredByValue(pods.length, ready.length, wait),
  );
}

function useOf({ cpu }: Pod, requestedCores: number): PodUse {
  const [before, last] = cpu.slice(-2);
  if (before === undefined || last === undefined) return undefined;
  return (last.value - before.value) / (last.at - before.at) / requestedCores;
}

/** Knuth's method for small means, the normal approximation for large ones. */
function poisson(mean: number, random: () => number): number {
  if (mean > 200) {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return Math.max(0, Math.round(mean + Math.sqrt(mean) * normal));
  }
  const end = Math.exp(-mean);
  let count = -1;
  for (let product = 1; product > end; count++) product *= random();
  return count;
}

function quantileOf(histogram: Uint32Array, q: number): number {
  const target = q * histogram.reduce((sum, count) => sum + count, 0);
  let seen = 0;
  for (const [ms, count] of histogram.entries()) {
    seen += count;
    if (seen >= target) return ms / 1000;
  }
  return Number.NaN;
}

function above(histogram: Uint32Array, seconds: number): number {
  let slow = 0;
  let all = 0;
  for (const [ms, count] of histogram.entries()) {
    all += count;
    if (ms > seconds * 1000) slow += count;
  }
  return slow / all;
}
