/**
 * What it costs that inference runs in another process: the same batch through the engine's own worker and channel, and
 * in this process, each less the time that the graph itself took.
 */

import type { Run } from '../../src/engine/protocol.ts';
import { createSession } from '../../src/engine/session.ts';
import { superviseChild } from '../../src/engine/supervisor.ts';
import { graphSpec } from '../../src/engine/trial.ts';
import { type Measurement, short } from '../measurement.ts';
import { quantile } from '../statistics.ts';

const TIMEOUT_MS = 60_000;
const BATCHES = [1, 4];
const MODEL = 'measured@0';

export const processBoundary: Measurement = {
  name: 'process-boundary',
  what: 'cost of the process boundary a text',
  async run({ workload, effort }) {
    const means = { provider: 'cpu', cudaDevice: 0, threads: 1 } as const;
    const spec = graphSpec(MODEL, workload.bundle, means);
    const session = await createSession({ ...spec, graph: workload.graph, executionProvider: 'cpu' });
    const started = Promise.withResolvers<void>();
    const child = superviseChild('inference', {
      started: started.resolve,
      exited() {},
      watch: { started() {}, exited() {} },
    });
    await started.promise;
    await child.call(spec, TIMEOUT_MS);

    const byBatch: Record<string, { boundaryUs: number; inProcessUs: number; parentCpuUs: number }> = {};
    for (const size of BATCHES) {
      const across: number[] = [];
      const inside: number[] = [];
      let parentCpu = 0;
      let runs = 0;
      const end = performance.now() + effort.seconds * 2000;
      for (let from = 0; performance.now() < end; from += size) {
        const batch = runOf(workload.windows, from, size);
        const cpu = process.cpuUsage();
        const begun = performance.now();
        const { seconds } = await child.call(batch, TIMEOUT_MS);
        across.push(((performance.now() - begun) / 1000 - seconds) / size);
        const used = process.cpuUsage(cpu);
        parentCpu += used.user + used.system;
        runs++;
        const again = performance.now();
        const local = await session.run(batch);
        inside.push(((performance.now() - again) / 1000 - local.seconds) / size);
      }
      byBatch[size] = {
        boundaryUs: (quantile(across, 0.5) - quantile(inside, 0.5)) * 1e6,
        inProcessUs: quantile(inside, 0.5) * 1e6,
        parentCpuUs: parentCpu / (runs * size),
      };
    }
    await child.close();
    await session.release();
    return {
      measured: Object.entries(byBatch)
        .map(([size, { boundaryUs, parentCpuUs }]) => {
          const batch = size === '1' ? 'alone' : `in a batch of ${size}`;
          return `${short(boundaryUs)} µs ${batch} (${short(parentCpuUs)} µs of the parent's processor time)`;
        })
        .join(', '),
      figures: { perTextByBatch: byBatch },
    };
  },
};

/** Windows from a place on, round and round. */
function runOf(windows: readonly Int32Array[], from: number, size: number): Run {
  const own = Array.from({ length: size }, (_, i) => windows[(from + i) % windows.length] as Int32Array);
  return {
    type: 'run',
    model: MODEL,
    lengths: Int32Array.from(own, (window) => window.length),
    ids: Int32Array.from(own.flatMap((window) => [...window])),
  };
}
