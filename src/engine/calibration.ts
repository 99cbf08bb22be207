/**
 * Measures which division of the processors among inference processes, and which size of batches, suits the models best.
 *
 * The service's own worker processes run batches of windows that are as long as the texts of each model's development
 * split were, so no texts are needed. Settings take turns, so that what else the machine does hits them alike.
 */
import { totalmem } from 'node:os';

import type { Bundle } from '../bundle/load.ts';
import type { Manifest } from '../bundle/manifest.ts';
import type { Calibration } from './calibration-file.ts';
import type { Sizing } from './sizing.ts';
import { type SupervisedChild, superviseChild } from './supervisor.ts';
import { graphSpec, type ProviderOption } from './trial.ts';

export type Measured = Calibration['measured'][number];

/** Windows of one model that are measured with. */
const WINDOWS = 192;
const LOAD_TIMEOUT_MS = 120_000;
const RUN_TIMEOUT_MS = 120_000;
/** Runs of one window, for its latency. */
const LATENCY_RUNS = 20;

/** Tokens. A GPU wants thousands. */
const BUDGETS = { cpu: [64, 128, 192, 256, 512, 1_024], cuda: [1_024, 4_096, 16_384, 65_536] } as const;

export interface CalibrationEffort {
  /** Times that each setting has its turn. */
  readonly rounds: number;
  /** Of one turn. */
  readonly seconds: number;
}

/** @throws ChildError when a model cannot be loaded */
export async function measureSizings(
  bundles: readonly Bundle[],
  options: {
    readonly cpus: number;
    readonly provider: ProviderOption;
    readonly cudaDevice: number;
  } & CalibrationEffort,
  tell: (line: string) => void = () => {},
): Promise<Measured[]> {
  const { cpus, provider, rounds, seconds } = options;
  const budgets = BUDGETS[provider === 'cuda' ? 'cuda' : 'cpu'];
  const models = bundles.map((bundle) => ({ bundle, key: bundle.manifest.name, windows: usualWindows(bundle) }));
  const bytes = bundles.flatMap(({ manifest }) => manifest.graphs.map(sizeOf)).reduce((a, b) => a + b, 0);
  const samples = new Map<
    string,
    { at: Omit<Measured, 'tokensPerSecond' | 'windowMs'>; rates: number[]; ms: number[] }
  >();

  for (let round = 0; round < rounds; round++)
    for (const division of divisions(cpus, bytes)) {
      tell(`round ${round + 1} of ${rounds}: ${division.workers} workers x ${division.threads} threads`);
      const workers = await startWorkers(division.workers);
      try {
        for (const { bundle, key, windows } of models) {
          const spec = graphSpec(key, bundle, { provider, cudaDevice: options.cudaDevice, threads: division.threads });
          await Promise.all(workers.map((worker) => worker.call(spec, LOAD_TIMEOUT_MS)));
          const windowMs = await latencyOf(
            workers[0] as SupervisedChild,
            key,
            windows[windows.length >> 1] as Int32Array,
          );
          // From another size on in each round: what warms up in the first must not spoil always the same one.
          for (const batchTokens of [
            ...budgets.slice(round % budgets.length),
            ...budgets.slice(0, round % budgets.length),
          ]) {
            const rate = await throughputOf(workers, key, cutByBudget(windows, batchTokens), seconds);
            const at = { model: key, ...division, batchTokens };
            const name = JSON.stringify(at);
            const entry = samples.get(name) ?? { at, rates: [], ms: [] };
            samples.set(name, entry);
            entry.rates.push(rate);
            entry.ms.push(windowMs);
          }
        }
      } finally {
        await Promise.all(workers.map((worker) => worker.close()));
      }
    }
  return [...samples.values()].map(({ at, rates, ms }) => ({
    ...at,
    tokensPerSecond: median(rates),
    windowMs: median(ms),
  }));
}

/** Throughputs this near count as equal; then smaller batches and fewer processes win, which answer sooner and need less. */
const AS_GOOD = 0.98;

/**
 * @param prefer `throughput`: most tokens a second, over models in relation to each one's best; `latency`: the division of
 *   processors that answers one window soonest, and its best batches
 */
export function chooseMeasured(measured: readonly Measured[], prefer: Calibration['prefer']): Sizing {
  const models = [...new Set(measured.map(({ model }) => model))];
  const best = (model: string, of: (entry: Measured) => number) =>
    Math.max(...measured.filter((entry) => entry.model === model).map(of));
  /** Geometric mean over models of a figure in relation to the best of its model. */
  const score = (entries: readonly Measured[], of: (entry: Measured) => number) =>
    Math.exp(entries.reduce((sum, entry) => sum + Math.log(of(entry) / best(entry.model, of)), 0) / models.length);
  const settings = [
    ...Map.groupBy(measured, ({ workers, threads, batchTokens }) => `${workers} ${threads} ${batchTokens}`).values(),
  ];
  const speed = (entry: Measured) => 1 / entry.windowMs;
  const soonest = Math.max(...settings.map((entries) => score(entries, speed)));
  const considered =
    prefer === 'throughput' ? settings : settings.filter((entries) => score(entries, speed) >= AS_GOOD * soonest);
  const rated = considered.map((entries) => ({
    setting: entries[0] as Measured,
    rate: score(entries, ({ tokensPerSecond }) => tokensPerSecond),
  }));
  const most = Math.max(...rated.map(({ rate }) => rate));
  const [chosen] = rated
    .filter(({ rate }) => rate >= AS_GOOD * most)
    .map(({ setting }) => setting)
    .sort((a, b) => a.batchTokens - b.batchTokens || a.workers - b.workers);
  if (chosen === undefined) throw new RangeError('Nothing was measured to choose from');
  const { workers, threads, batchTokens } = chosen;
  return { workers, threads, batchTokens };
}

/** Ways to give all processors to processes of equally many threads, as far as memory holds their copies. */
export function divisions(
  cpus: number,
  graphBytes: number,
  memory = totalmem(),
): Pick<Sizing, 'workers' | 'threads'>[] {
  return Array.from({ length: cpus }, (_, i) => i + 1)
    .filter((threads) => cpus % threads === 0)
    .map((threads) => ({ workers: cpus / threads, threads }))
    .filter(({ workers }) => workers === 1 || workers * graphBytes < memory / 4);
}

/** Windows of the lengths that the development split had, shortest first. */
function usualWindows({ manifest, golden }: Bundle): Int32Array[] {
  const ids = golden.items.flatMap((item) => ('windows' in item ? item.windows.flatMap((window) => window.ids) : []));
  return usualLengths(manifest).map((length) => Int32Array.from({ length }, (_, i) => ids[i % ids.length] ?? 0));
}

/** Evenly spaced quantiles of the histogram, none longer than a window. */
export function usualLengths({ distribution, input }: Pick<Manifest, 'distribution' | 'input'>): number[] {
  const { edges, counts } = distribution.tokens;
  const total = counts.reduce((a, b) => a + b, 0);
  return Array.from({ length: WINDOWS }, (_, i) => {
    let rank = ((i + 0.5) / WINDOWS) * total;
    const bin = counts.findIndex((count) => {
      if (rank <= count) return true;
      rank -= count;
      return false;
    });
    const [low = 1, high = low] = [edges[bin], edges[bin + 1]];
    const within = low + ((high - low) * rank) / (counts[bin] ?? 1);
    return Math.max(input.prefixIds.length + input.suffixIds.length + 1, Math.min(input.maxTokens, Math.round(within)));
  });
}

/** @param windows shortest first */
export function cutByBudget(windows: readonly Int32Array[], batchTokens: number): Int32Array[][] {
  const batches: Int32Array[][] = [];
  let current: Int32Array[] = [];
  for (const window of windows) {
    if (current.length > 0 && window.length * (current.length + 1) > batchTokens) {
      batches.push(current);
      current = [];
    }
    current.push(window);
  }
  return current.length > 0 ? [...batches, current] : batches;
}

function startWorkers(count: number): Promise<SupervisedChild[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const watch = { started() {}, exited() {} };
      const child = superviseChild('inference', { started: resolve, exited() {}, watch });
      await promise;
      return child;
    }),
  );
}

async function latencyOf(worker: SupervisedChild, model: string, window: Int32Array): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < LATENCY_RUNS; i++) times.push((await run(worker, model, [window])) * 1000);
  return median(times);
}

/** Tokens a second of all workers together, each with every so-manieth batch, again and again. */
async function throughputOf(
  workers: readonly SupervisedChild[],
  model: string,
  batches: readonly Int32Array[][],
  seconds: number,
): Promise<number> {
  const rates = await Promise.all(
    workers.map(async (worker, w) => {
      const own = batches.filter((_, i) => i % workers.length === w);
      if (own.length === 0) return 0;
      const tokens = own.flat().reduce((sum, { length }) => sum + length, 0);
      const begun = performance.now();
      let passes = 0;
      do {
        for (const batch of own) await run(worker, model, batch);
        passes++;
      } while (performance.now() - begun < seconds * 1000);
      return (1000 * passes * tokens) / (performance.now() - begun);
    }),
  );
  return rates.reduce((a, b) => a + b, 0);
}

/** @returns seconds that the graph took */
async function run(worker: SupervisedChild, model: string, batch: readonly Int32Array[]): Promise<number> {
  const lengths = Int32Array.from(batch, ({ length }) => length);
  const ids = Int32Array.from(batch.flatMap((window) => [...window]));
  return (await worker.call({ type: 'run', model, lengths, ids }, RUN_TIMEOUT_MS)).seconds;
}

function sizeOf({ bytes, externalData }: Manifest['graphs'][number]): number {
  return externalData.reduce((sum, file) => sum + file.bytes, bytes);
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] as number;
}
