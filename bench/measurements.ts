/** Every row of the table, in its order. */
import type { Measurement } from './measurement.ts';
import { eventLoop } from './measurements/event-loop.ts';
import { latency } from './measurements/latency.ts';
import { memory } from './measurements/memory.ts';
import { mixedLoad } from './measurements/mixed-load.ts';
import { overload } from './measurements/overload.ts';
import { padding } from './measurements/padding.ts';
import { processBoundary } from './measurements/process-boundary.ts';
import { start } from './measurements/start.ts';
import { throughput } from './measurements/throughput.ts';

export const MEASUREMENTS: readonly Measurement[] = [
  ...throughput,
  padding,
  latency,
  eventLoop,
  ...overload,
  start,
  memory,
  mixedLoad,
  processBoundary,
];
