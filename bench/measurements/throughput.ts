/** Texts a second at saturation, against the best bare loop. */
import { describeSetting } from '../bare.ts';
import type { LoadRequest } from '../load.ts';
import { groupedTexts, type MeasuredLoad, measureLoad, singleTexts } from '../loads.ts';
import { type Measurement, short } from '../measurement.ts';
import { startService } from '../service.ts';
import { spread } from '../statistics.ts';
import { ratios, takeTurns } from '../turns.ts';
import type { Workload } from '../workload.ts';

const TEXTS_OF_A_REQUEST = 32;

interface Shape {
  readonly name: string;
  readonly what: string;
  /** Of the bare loop's best. */
  readonly atLeast: number;
  readonly connections: number;
  readonly requests: (workload: Workload) => LoadRequest[];
}

const SHAPES: readonly Shape[] = [
  {
    name: 'throughput-32',
    what: `throughput, ${TEXTS_OF_A_REQUEST} texts a request`,
    atLeast: 0.95,
    connections: 4,
    requests: (workload) => groupedTexts(workload, TEXTS_OF_A_REQUEST),
  },
  {
    name: 'throughput-1',
    what: 'throughput, one text a request, 64 connections',
    atLeast: 0.85,
    connections: 64,
    requests: (workload) => singleTexts(workload),
  },
];

export const throughput: readonly Measurement[] = SHAPES.map(({ name, what, atLeast, connections, requests }) => ({
  name,
  what,
  target: `at least ${atLeast} of the bare loop`,
  async run({ workload, cpus, effort, bare, bestBare }) {
    const setting = await bestBare();
    const service = await startService({ modelsDir: workload.modelsDir });
    const prepared = requests(workload);
    const { seconds, warmUpSeconds } = effort;
    const loads: MeasuredLoad[] = [];
    const rates = await takeTurns(effort.rounds, {
      bare: async () => (await bare.throughput(setting, seconds)) / workload.meanTokens,
      service: async (round) => {
        const arrivals = { connections };
        const load = { requests: prepared, arrivals, warmUpSeconds, seconds, seed: round + 1 };
        loads.push(await measureLoad(service, workload, cpus, load));
        return (loads.at(-1) as MeasuredLoad).textsPerSecond;
      },
    });
    await service.stop();

    const ratio = spread(ratios(rates.service, rates.bare));
    const { cpu, cpuMsPerText } = loads.at(-1) as MeasuredLoad;
    const refused = Math.max(...loads.map(({ refusedShare }) => refusedShare));
    return {
      measured: `${short(ratio.median)} (${short(ratio.min)}-${short(ratio.max)}): ${short(spread(rates.service).median)} texts/s${refused > 0 ? `, up to ${short(refused * 100)} % refused` : ''}`,
      bare: `${short(spread(rates.bare).median)} texts/s, ${describeSetting(setting)}`,
      pass: ratio.median >= atLeast,
      cpu,
      figures: {
        ratio,
        serviceTextsPerSecond: rates.service,
        bareTextsPerSecond: rates.bare,
        bareSetting: setting,
        connections,
        refusedShare: refused,
        cpuMsPerText,
      },
    };
  },
}));
