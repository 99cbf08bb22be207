/** How long the main process's event loop is held up while the service is saturated. */
import { groupedTexts, measureLoad, singleTexts } from '../loads.ts';
import { type Measurement, short } from '../measurement.ts';
import { startService } from '../service.ts';

const AT_MOST_MS = 10;

export const eventLoop: Measurement = {
  name: 'event-loop',
  what: 'event-loop delay at saturation, p99',
  target: `at most ${AT_MOST_MS} ms`,
  async run({ workload, cpus, effort }) {
    const service = await startService({ modelsDir: workload.modelsDir, probe: true });
    const { warmUpSeconds } = effort;
    const seconds = effort.seconds * 2;
    const of32 = { requests: groupedTexts(workload, 32), arrivals: { connections: 8 }, warmUpSeconds, seconds };
    const of1 = { requests: singleTexts(workload), arrivals: { connections: 64 }, warmUpSeconds, seconds };
    await measureLoad(service, workload, cpus, { ...of1, seconds: effort.seconds });
    await service.ask('delays');
    const { cpu } = await measureLoad(service, workload, cpus, of32);
    const many = await service.ask('delays');
    await measureLoad(service, workload, cpus, of1);
    const single = await service.ask('delays');
    await service.stop();
    return {
      measured: `${short(many.p99Ms)} ms with 32 texts a request, ${short(single.p99Ms)} ms with one (worst ${short(Math.max(many.maxMs, single.maxMs))} ms)`,
      pass: Math.max(many.p99Ms, single.p99Ms) <= AT_MOST_MS,
      cpu,
      figures: { of32Texts: many, ofOneText: single },
    };
  },
};
