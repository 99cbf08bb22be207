/** Bare onnxruntime-node loops, one a core, and the best that they reach: the physical limit of a graph on a machine. */
import { type ChildProcess, fork } from 'node:child_process';
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { cutByBudget, divisions } from '../src/engine/calibration.ts';
import type { BareReply, BareRequest } from './bare-loop.ts';
import { quantile } from './statistics.ts';
import type { Workload } from './workload.ts';

/** How a bare loop is set up. */
export interface BareSetting {
  readonly processes: number;
  /** Of each process. */
  readonly threads: number;
  /** A batch holds so many windows, or windows up to so many padded tokens. */
  readonly batch: { readonly windows: number } | { readonly tokens: number };
}

export interface Bare {
  /** Tokens a second, padding not counted, of all processes together. */
  throughput(setting: BareSetting, seconds: number): Promise<number>;
  /** Milliseconds of one window at a time, for each of the windows. @param pauseMs idle time before each */
  latencies(threads: number, windows: readonly Int32Array[], pauseMs?: number): Promise<Float64Array>;
  /** Tries every setting for a moment and returns the quickest, and what each reached in tokens a second. */
  best(
    seconds: number,
  ): Promise<{ readonly best: BareSetting; readonly tried: readonly (readonly [BareSetting, number])[] }>;
  stop(): void;
}

const LOOP = fileURLToPath(new URL('./bare-loop.ts', import.meta.url));

/** Every setting is tried on a part of the windows, and the leaders on all of them, some times. */
const TRY_EVERY = 4;
const FINALISTS = 4;
const FINAL_ROUNDS = 3;

const BATCHES: readonly BareSetting['batch'][] = [
  ...[1, 2, 4, 8, 16, 32].map((windows) => ({ windows })),
  ...[64, 128, 192, 256, 512].map((tokens) => ({ tokens })),
];

export function startBare({ graph, manifest, windows }: Workload, cpus: number): Bare {
  const { padId } = manifest.input;
  const children = Array.from({ length: cpus }, () => fork(LOOP, [], { serialization: 'advanced', execArgv: [] }));
  // Short first, so that batches waste as little on padding as they can.
  const sorted = windows.toSorted((a, b) => a.length - b.length);

  async function throughput(setting: BareSetting, seconds: number, among = sorted): Promise<number> {
    const { processes, threads, batch } = setting;
    const batches = cutBatches(among, batch);
    const rates = await Promise.all(
      children.slice(0, processes).map(async (child, p) => {
        // Dealt in turn: neighbours are of one length, so every process has the same work.
        const own = batches.filter((_, i) => i % processes === p);
        if (own.length === 0) return 0;
        const { times } = await ask(child, { graph, threads, batches: own, padId, seconds, pauseMs: 0 });
        const passes = times.length / own.length;
        const tokens = own.flat().reduce((sum, window) => sum + window.length, 0);
        return (1000 * passes * tokens) / times.reduce((a, b) => a + b, 0);
      }),
    );
    return rates.reduce((a, b) => a + b, 0);
  }

  return {
    throughput,
    async latencies(threads, single, pauseMs = 0) {
      const batches = single.map((window) => [window]);
      return (await ask(children[0] as ChildProcess, { graph, threads, batches, padId, seconds: 0, pauseMs })).times;
    },
    async best(seconds) {
      const tried: [BareSetting, number][] = [];
      const bytes = statSync(graph).size;
      const some = sorted.filter((_, i) => i % TRY_EVERY === 0);
      for (const { workers: processes, threads } of divisions(cpus, bytes))
        for (const batch of BATCHES) {
          const setting = { processes, threads, batch };
          tried.push([setting, await throughput(setting, seconds, some)]);
        }
      tried.sort(([, a], [, b]) => b - a);
      // The leaders once more: the first look is short.
      const finals: [BareSetting, number][] = [];
      for (const [setting] of tried.slice(0, FINALISTS)) {
        const rates: number[] = [];
        for (let i = 0; i < FINAL_ROUNDS; i++) rates.push(await throughput(setting, seconds));
        finals.push([setting, quantile(rates, 0.5)]);
      }
      finals.sort(([, a], [, b]) => b - a);
      return { best: (finals[0] as [BareSetting, number])[0], tried };
    },
    stop() {
      for (const child of children) if (child.connected) child.disconnect();
    },
  };
}

/** @param sorted by length, shortest first */
function cutBatches(sorted: readonly Int32Array[], batch: BareSetting['batch']): (readonly Int32Array[])[] {
  if ('tokens' in batch) return cutByBudget(sorted, batch.tokens);
  const { windows } = batch;
  return Array.from({ length: Math.ceil(sorted.length / windows) }, (_, i) =>
    sorted.slice(i * windows, (i + 1) * windows),
  );
}

export function describeSetting({ processes, threads, batch }: BareSetting): string {
  const size = 'windows' in batch ? `${batch.windows} windows` : `${batch.tokens} tokens`;
  return `${processes} process${processes === 1 ? '' : 'es'} x ${threads} thread${threads === 1 ? '' : 's'}, batches of ${size}`;
}

function ask(child: ChildProcess, request: BareRequest): Promise<BareReply> {
  return new Promise((resolve, reject) => {
    const ended = () => reject(new Error('A bare loop ended before it answered'));
    child.once('exit', ended);
    child.once('message', (reply: BareReply) => {
      child.off('exit', ended);
      resolve(reply);
    });
    child.send(request);
  });
}
