/**
 * A process that sends prepared requests to the service, so that its cost is known and touches nobody else's loop.
 *
 * Closed: so many connections, each sends its next request when it has the answer, and a while later when it was refused.
 * Open: requests arrive as a Poisson
 * process of a fixed rate, whatever the service does, each on a free connection; latency counts from the moment when
 * the request was due, so a slow answer cannot hide those behind it.
 */
import { Pool } from 'undici';

import { createRandom } from './random.ts';
import { shuffled } from './texts.ts';

export interface LoadOrder {
  readonly origin: string;
  readonly requests: readonly { readonly path: string; readonly body: Uint8Array }[];
  readonly arrivals: { readonly connections: number } | { readonly ratePerSecond: number };
  /** Not counted. */
  readonly warmUpSeconds: number;
  readonly seconds: number;
  readonly seed: number;
}

/** Requests answered in the counted time, one entry each. */
export interface LoadReport {
  /** Index into the order's requests. */
  readonly request: Int32Array;
  /** 0: the connection failed. */
  readonly status: Int16Array;
  readonly latencyMs: Float64Array;
  /** The counted time. */
  readonly seconds: number;
  /** This process's, in the counted time. */
  readonly cpuSeconds: number;
  /** How late requests were sent, 99th percentile; the generator's own fault, and inside the latencies. */
  readonly lateMs: number;
}

/** A client that was told to come back later does not come back at once. */
const REFUSED = 429;
const RETRY_MS = 100;
/** A service that does not answer must not keep the benchmark for ever. */
const ANSWER_TIMEOUT_MS = 60_000;

process.on('disconnect', () => process.exit(0));
process.on('message', async (order: LoadOrder) => process.send?.(await run(order)));

async function run(order: LoadOrder): Promise<LoadReport> {
  const connections = 'connections' in order.arrivals ? order.arrivals.connections : null;
  const pool = new Pool(order.origin, {
    connections,
    pipelining: 1,
    headersTimeout: ANSWER_TIMEOUT_MS,
    bodyTimeout: ANSWER_TIMEOUT_MS,
  });
  const headers = ['content-type', 'application/json'];
  const random = createRandom(order.seed);
  // In turn, not drawn: one that comes twice at a time would be computed once.
  const turn = shuffled(
    order.requests.map((_, i) => i),
    random,
  );
  let sentSoFar = 0;
  const index: number[] = [];
  const status: number[] = [];
  const latency: number[] = [];
  const late: number[] = [];

  const countFrom = performance.now() + order.warmUpSeconds * 1000;
  const countTo = countFrom + order.seconds * 1000;
  let cpu = process.cpuUsage();
  setTimeout(() => {
    cpu = process.cpuUsage();
  }, order.warmUpSeconds * 1000);

  function send(due: number): Promise<number> {
    const which = turn[sentSoFar++ % turn.length] as number;
    return new Promise((resolve) => {
      let answered = 0;
      // A closed loop counts what is answered in the time, an open one what is due in it: a queue that grows must show.
      const settle = () => {
        const now = performance.now();
        const moment = 'connections' in order.arrivals ? now : due;
        if (moment >= countFrom && moment < countTo) {
          index.push(which);
          status.push(answered);
          latency.push(now - due);
        }
        resolve(answered);
      };
      const { path, body } = order.requests[which] as LoadOrder['requests'][number];
      pool.dispatch(
        { path, method: 'POST', headers, body },
        {
          onRequestStart() {},
          onResponseStart(_controller, code) {
            answered = code;
          },
          onResponseData() {},
          onResponseEnd: settle,
          onResponseError() {
            answered = 0;
            settle();
          },
        },
      );
    });
  }

  const sent =
    'connections' in order.arrivals ? closedLoop(order.arrivals.connections) : openLoop(order.arrivals.ratePerSecond);
  await new Promise((resolve) => setTimeout(resolve, countTo - performance.now()));
  const used = process.cpuUsage(cpu);
  await sent;
  await pool.close();
  return {
    request: Int32Array.from(index),
    status: Int16Array.from(status),
    latencyMs: Float64Array.from(latency),
    seconds: order.seconds,
    cpuSeconds: (used.user + used.system) / 1e6,
    lateMs: late.length === 0 ? 0 : (late.sort((a, b) => a - b)[Math.floor(late.length * 0.99)] as number),
  };

  async function closedLoop(lanes: number): Promise<void> {
    await Promise.all(
      Array.from({ length: lanes }, async () => {
        while (performance.now() < countTo) {
          const status = await send(performance.now());
          if (status === REFUSED) await new Promise((retry) => setTimeout(retry, RETRY_MS));
        }
      }),
    );
  }

  async function openLoop(ratePerSecond: number): Promise<void> {
    const open = new Set<Promise<number>>();
    const gap = () => (-Math.log(1 - random()) * 1000) / ratePerSecond;
    let due = performance.now() + gap();
    while (due < countTo) {
      const now = performance.now();
      for (; due <= now && due < countTo; due += gap()) {
        late.push(now - due);
        const answer = send(due).finally(() => open.delete(answer));
        open.add(answer);
      }
      // A timer is up to a millisecond late, which the latencies carry; to spin would take the processor from the service.
      await new Promise((resolve) => setTimeout(resolve, Math.max(1, due - performance.now())));
    }
    await Promise.all(open);
  }
}
