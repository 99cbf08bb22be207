/** Sends load to a service from a process of its own. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import type { LoadOrder, LoadReport } from './load-process.ts';
import { quantile } from './statistics.ts';

export type { LoadReport } from './load-process.ts';

/** Requests that the load is made of, and how they come. */
export interface Load {
  /** Sent in turn, in an order that the seed decides. */
  readonly requests: readonly LoadRequest[];
  readonly arrivals: LoadOrder['arrivals'];
  readonly warmUpSeconds: number;
  readonly seconds: number;
  readonly seed?: number;
}

export interface LoadRequest {
  /** Where it is posted to; `/classify` when nothing is said. */
  readonly path?: string;
  readonly body: unknown;
  /** Of all windows, special tokens included. */
  readonly tokens: number;
  readonly texts: number;
  readonly kind?: number;
}

export interface LoadResult {
  readonly load: Load;
  readonly report: LoadReport;
}

const ENTRY = fileURLToPath(new URL('./load-process.ts', import.meta.url));

export async function sendLoad(url: string, load: Load): Promise<LoadResult> {
  const child = fork(ENTRY, [], { serialization: 'advanced', execArgv: [] });
  const order: LoadOrder = {
    origin: url,
    requests: load.requests.map(({ path = '/classify', body }) => ({ path, body: Buffer.from(JSON.stringify(body)) })),
    arrivals: load.arrivals,
    warmUpSeconds: load.warmUpSeconds,
    seconds: load.seconds,
    seed: load.seed ?? 1,
  };
  try {
    return { load, report: await ask(child, order) };
  } finally {
    child.kill('SIGKILL');
  }
}

/** Of requests answered with 200, a second. */
export function answeredRates({ load, report }: LoadResult): { readonly texts: number; readonly tokens: number } {
  let texts = 0;
  let tokens = 0;
  report.request.forEach((which, i) => {
    if (report.status[i] !== 200) return;
    const request = load.requests[which] as LoadRequest;
    texts += request.texts;
    tokens += request.tokens;
  });
  return { texts: texts / report.seconds, tokens: tokens / report.seconds };
}

/** Milliseconds of the requests with that status and kind. */
export function latencies({ load, report }: LoadResult, status = 200, kind?: number): Float64Array {
  return report.latencyMs.filter(
    (_, i) =>
      report.status[i] === status &&
      (kind === undefined || (load.requests[report.request[i] as number]?.kind ?? 0) === kind),
  );
}

/** @returns undefined where there is no value: a quantile of nothing is no figure */
export function latencyAt(result: LoadResult, q: number, status = 200, kind?: number): number | undefined {
  const own = latencies(result, status, kind);
  return own.length === 0 ? undefined : quantile(own, q);
}

/** Requests by status; 0 stands for a connection that failed. */
export function statuses({ report }: LoadResult): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const status of report.status) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

function ask(child: ChildProcess, order: LoadOrder): Promise<LoadReport> {
  return new Promise((resolve, reject) => {
    child.once('exit', () => reject(new Error('The load generator ended before it reported')));
    child.once('message', (report: LoadReport) => resolve(report));
    child.send(order);
  });
}
