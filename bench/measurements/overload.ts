/**
 * Ten times as many texts as the service can answer.
 *
 * Capacity is what a fixed number of connections gets out of it (a closed loop, so nothing is refused), and its p99 is
 * theirs. Then requests arrive as a Poisson process at ten times that rate, whatever becomes of those before. With one
 * text a request this is ten times the HTTP work too; with 32 it is the graph alone that is overrun.
 */
import { type LoadRequest, latencyAt, statuses } from '../load.ts';
import { groupedTexts, type MeasuredLoad, measureLoad, singleTexts } from '../loads.ts';
import { type Measurement, short } from '../measurement.ts';
import { startService } from '../service.ts';
import { spread } from '../statistics.ts';
import type { Workload } from '../workload.ts';

const TIMES_CAPACITY = 10;
const ACCEPTED_AT_MOST = 2;
const REFUSED_AT_MOST_MS = 20;

interface Shape {
  readonly name: string;
  readonly texts: number;
  readonly connections: number;
  readonly requests: (workload: Workload) => LoadRequest[];
}

const SHAPES: readonly Shape[] = [
  { name: 'overload-32', texts: 32, connections: 4, requests: (workload) => groupedTexts(workload, 32) },
  { name: 'overload-1', texts: 1, connections: 64, requests: (workload) => singleTexts(workload) },
];

export const overload: readonly Measurement[] = SHAPES.map(({ name, texts, connections, requests: prepare }) => ({
  name,
  what: `overload at ${TIMES_CAPACITY} times capacity, ${texts === 1 ? 'one text' : `${texts} texts`} a request`,
  target: `p99 of answered at most ${ACCEPTED_AT_MOST} times that at capacity; the rest 429, their p99 under ${REFUSED_AT_MOST_MS} ms`,
  async run({ workload, cpus, effort }) {
    const service = await startService({ modelsDir: workload.modelsDir });
    const requests = prepare(workload);
    const { warmUpSeconds, seconds } = effort;
    const rounds: { atCapacityMs: number; answeredMs: number; refusedMs: number; refusedShare: number }[] = [];
    let strangers: Record<string, number> = {};
    let last: MeasuredLoad | undefined;
    for (let round = 0; round < Math.ceil(effort.rounds / 3); round++) {
      const base = { requests, warmUpSeconds, seconds: seconds * 2, seed: round + 1 };
      const full = await measureLoad(service, workload, cpus, { ...base, arrivals: { connections } });
      const arrivals = { ratePerSecond: (TIMES_CAPACITY * full.textsPerSecond) / texts };
      const over = await measureLoad(service, workload, cpus, { ...base, arrivals }, EVERY_STATUS);
      const { 200: answered = 0, 429: refused = 0, ...others } = statuses(over);
      strangers = { ...strangers, ...others };
      rounds.push({
        atCapacityMs: latencyAt(full, 0.99) ?? Number.NaN,
        answeredMs: latencyAt(over, 0.99) ?? Number.NaN,
        refusedMs: latencyAt(over, 0.99, 429) ?? Number.NaN,
        refusedShare: refused / (answered + refused),
      });
      last = over;
    }
    await service.stop();

    const median = (of: (round: (typeof rounds)[number]) => number) => spread(rounds.map(of)).median;
    const times = spread(rounds.map(({ answeredMs, atCapacityMs }) => answeredMs / atCapacityMs));
    const refusedMs = median((round) => round.refusedMs);
    const lateMs = last?.report.lateMs ?? 0;
    const wrong = Object.keys(strangers);
    return {
      measured:
        `answered p99 ${short(times.median)} times (${short(median((r) => r.answeredMs))} ms, at capacity ${short(median((r) => r.atCapacityMs))} ms); ` +
        `${short(median((r) => r.refusedShare) * 100)} % 429, p99 ${short(refusedMs)} ms (sender up to ${short(lateMs)} ms late); ` +
        (wrong.length === 0 ? 'nothing else' : `also ${wrong.join(', ')}`),
      pass: times.median <= ACCEPTED_AT_MOST && refusedMs < REFUSED_AT_MOST_MS && wrong.length === 0,
      ...(last === undefined ? {} : { cpu: last.cpu }),
      figures: {
        rounds,
        times,
        connectionsAtCapacity: connections,
        otherStatuses: strangers,
        generatorLateP99Ms: lateMs,
      },
    };
  },
}));

/** Any: what came is counted, not presumed. */
const EVERY_STATUS = Array.from({ length: 600 }, (_, status) => status);
