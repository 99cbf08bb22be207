/** Memory of all processes under load, with one model and two workers, and whether it grows. */
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

import { groupedTexts, measureLoad, singleTexts } from '../loads.ts';
import { type Measurement, short } from '../measurement.ts';
import { memoryByProcess, type ProcessUse, totalPss } from '../processes.ts';
import { startService } from '../service.ts';
import { slopeOf, tenth } from '../statistics.ts';

const AT_MOST_MIB = 400;
const WORKERS = 2;
const CONNECTIONS = 32;
const SAMPLES = 200;
/** Of the time, at its beginning, in which heaps find their size (10 to 12 minutes): part of the size, not of the slope. */
const SETTLING_SHARE = 0.5;

export const memory: Measurement = {
  name: 'memory',
  what: 'memory of all processes (PSS), one model, 2 workers',
  target: `at most ${AT_MOST_MIB} MiB, slope zero`,
  async run({ workload, cpus, effort }) {
    const modelsDir = await mkdtemp(join(tmpdir(), 'dslora-bench-'));
    await cp(workload.bundle.folder, join(modelsDir, basename(workload.bundle.folder)), { recursive: true });
    const service = await startService({ modelsDir, env: { WORKERS: `${WORKERS}` } });
    const begun = performance.now();
    const samples: { readonly seconds: number; readonly uses: readonly ProcessUse[] }[] = [];
    const sampler = setInterval(
      () => samples.push({ seconds: (performance.now() - begun) / 1000, uses: service.use() }),
      (effort.memorySeconds * 1000) / SAMPLES,
    );
    const { cpu } = await measureLoad(service, workload, cpus, {
      requests: [...groupedTexts(workload, 32), ...singleTexts(workload)],
      arrivals: { connections: CONNECTIONS },
      warmUpSeconds: 0,
      seconds: effort.memorySeconds,
    }).finally(() => clearInterval(sampler));
    await service.stop();
    await rm(modelsDir, { recursive: true });

    const totals = samples.map(({ seconds, uses }) => [seconds, totalPss(uses)] as const);
    const settled = samples.findIndex(({ seconds }) => seconds >= effort.memorySeconds * SETTLING_SHARE);
    const perSecond = slopeOf(totals.slice(settled));
    const [slope, low, high] = [perSecond.slope, perSecond.low, perSecond.high].map((own) => own * 60) as [
      number,
      number,
      number,
    ];
    const most = Math.max(...totals.map(([, mib]) => mib));
    const last = totals.at(-1)?.[1] ?? Number.NaN;
    return {
      measured:
        `${short(most)} MiB at most, ${short(last)} MiB after ${short(effort.memorySeconds / 60)} minutes, ` +
        `slope in the second half ${short(slope)} MiB a minute [${short(low)}, ${short(high)}]`,
      pass: most <= AT_MOST_MIB && low <= 0,
      cpu,
      figures: {
        mostMiB: most,
        lastMiB: last,
        slopeMiBPerMinute: { slope, low95: low, high95: high },
        minutes: effort.memorySeconds / 60,
        processes: { settled: memoryByProcess(samples[settled]?.uses), last: memoryByProcess(samples.at(-1)?.uses) },
        samples: totals.map(([seconds, mib]) => [tenth(seconds), tenth(mib)]),
      },
    };
  },
};
