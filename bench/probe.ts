/**
 * Loaded into the service's main process with `--import` while it is measured; asked over IPC, by name.
 *
 * `delays`: how long the event loop was held up since the last time. The monitor looks every millisecond, and what it
 * records includes that millisecond, so it is taken off. Prometheus' `nodejs_eventloop_lag_*` looks every ten and leaves
 * the ten in, so it cannot show less.
 * `compiled`: what V8 holds of compiled code. It compiles rarer functions for as long as a service runs.
 * `profile`, `profiled`: V8's sampling profiler, as `--cpu-prof` runs it, over just the time between the two.
 */
import { Session } from 'node:inspector/promises';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { getHeapSpaceStatistics } from 'node:v8';

import type { CpuProfile } from './cpu-profile.ts';

export interface LoopDelays {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly samples: number;
  /** Share of the time in which the loop worked rather than waited. */
  readonly utilization: number;
}

export interface Answers {
  delays: LoopDelays;
  /** MiB in memory of the spaces that hold code and its tables. */
  compiled: number;
  profile: null;
  profiled: CpuProfile;
}

const RESOLUTION_MS = 1;
const PROFILE_INTERVAL_US = 500;
/** V8 keeps machine code in code spaces, and what belongs to it (bytecode, tables) in trusted spaces. */
const CODE_SPACES = /^(code|trusted)_/;

// Only from the first question on: a timer every millisecond is work of its own.
const monitor = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
let before = performance.eventLoopUtilization();
const session = new Session();

const ANSWERS: { readonly [Name in keyof Answers]: () => Answers[Name] | Promise<Answers[Name]> } = {
  delays() {
    monitor.enable();
    const delay = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
    const now = performance.eventLoopUtilization();
    const delays = {
      p50Ms: delay(monitor.percentile(50)),
      p99Ms: delay(monitor.percentile(99)),
      maxMs: delay(monitor.max),
      samples: monitor.count,
      utilization: performance.eventLoopUtilization(now, before).utilization,
    };
    before = now;
    monitor.reset();
    return delays;
  },
  compiled() {
    const spaces = getHeapSpaceStatistics().filter(({ space_name }) => CODE_SPACES.test(space_name));
    return spaces.reduce((sum, { physical_space_size }) => sum + physical_space_size, 0) / 2 ** 20;
  },
  async profile() {
    session.connect();
    await session.post('Profiler.enable');
    await session.post('Profiler.setSamplingInterval', { interval: PROFILE_INTERVAL_US });
    await session.post('Profiler.start');
    return null;
  },
  async profiled() {
    const { profile } = await session.post('Profiler.stop');
    session.disconnect();
    return profile as CpuProfile;
  },
};

process.on('message', async (name: keyof Answers) => process.send?.(await ANSWERS[name]()));
// A measured process ends as it would unmeasured.
process.channel?.unref();
