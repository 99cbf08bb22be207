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
import { type Spread, spread } from '../statistics.ts';
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

/** Latencies are p99. */
interface OverloadRound {
  readonly atCapacityMs: number;
  readonly answeredMs: number;
  readonly refusedMs: number;
  /** 0 to 1. */
  readonly refusedShare: number;
}

export const overload: readonly Measurement[] = SHAPES.map(({ name, texts, connections, requests: prepare }) => ({
  name,
  what: `overload at ${TIMES_CAPACITY} times capacity, ${texts === 1 ? 'one text' : `${texts} texts`} a request`,
  target: `p99 of answered at most ${ACCEPTED_AT_MOST} times that at capacity; the rest 429, their p99 under ${REFUSED_AT_MOST_MS} ms`,
  async run({ workload, cpus, effort }) {
    const service = await startService({ modelsDir: workload.modelsDir });
    const requests = prepare(workload);
    const { warmUpSeconds, seconds } = effort;
    const rounds: OverloadRound[] = [];
    let strangers: Record<string, number> = {};
    let lateMs = 0;
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
      lateMs = Math.max(lateMs, over.report.lateMs);
      last = over;
    }
    await service.stop();

    const times = timesOf(rounds);
    const refusedMs = spread(rounds.map((round) => round.refusedMs)).median;
    const wrong = Object.keys(strangers);
    return {
      measured: describeRounds(rounds, lateMs, wrong),
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

/**
 * What stands in the table: medians, and in brackets the smallest and largest round, so that none is hidden.
 *
 * @param lateMs how late the load generator was, p99 of its worst round
 * @param strangers statuses that should not have come
 */
export function describeRounds(rounds: readonly OverloadRound[], lateMs: number, strangers: readonly string[]): string {
  const [answered, atCapacity, refused] = (['answeredMs', 'atCapacityMs', 'refusedMs'] as const).map((name) =>
    ranged(spread(rounds.map((round) => round[name]))),
  );
  return (
    `answered p99 ${ranged(timesOf(rounds))} times: ${answered} ms, at capacity ${atCapacity} ms; ` +
    `${ranged(spread(rounds.map(({ refusedShare }) => refusedShare * 100)))} % 429, p99 ${refused} ms; ` +
    `sender up to ${short(lateMs)} ms late; ` +
    (strangers.length === 0 ? 'nothing else' : `also ${strangers.join(', ')}`)
  );
}

function timesOf(rounds: readonly OverloadRound[]): Spread {
  return spread(rounds.map(({ answeredMs, atCapacityMs }) => answeredMs / atCapacityMs));
}

function ranged({ median, min, max }: Spread): string {
  return `${short(median)} (${short(min)}-${short(max)})`;
}

/** Any: what came is counted, not presumed. */
const EVERY_STATUS = Array.from({ length: 600 }, (_, status) => status);
