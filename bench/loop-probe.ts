/**
 * Loaded into the service's main process with `--import` while it is measured: how long its event loop was held up.
 *
 * Asked over IPC (any message), it answers with the delays since the last time. The monitor looks every millisecond, and
 * what it records includes that millisecond, so it is taken off. Prometheus' `nodejs_eventloop_lag_*` looks every ten
 * and leaves the ten in, so it cannot show less.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';

export interface LoopDelays {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly samples: number;
  /** Share of the time in which the loop worked rather than waited. */
  readonly utilization: number;
}

const RESOLUTION_MS = 1;

const monitor = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
monitor.enable();
let before = performance.eventLoopUtilization();

process.on('message', () => {
  const delay = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
  const now = performance.eventLoopUtilization();
  process.send?.({
    p50Ms: delay(monitor.percentile(50)),
    p99Ms: delay(monitor.percentile(99)),
    maxMs: delay(monitor.max),
    samples: monitor.count,
    utilization: performance.eventLoopUtilization(now, before).utilization,
  } satisfies LoopDelays);
  before = now;
  monitor.reset();
});
// A measured process ends as it would unmeasured.
process.channel?.unref();
