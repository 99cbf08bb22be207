/**
 * Ten times as many requests as the service can answer.
 *
 * Capacity is what 64 connections with one text a request get out of it, and its p99 is theirs. Then requests arrive as
 * a Poisson process at ten times that rate, whatever becomes of those before.
 */
import { latencyAt, statuses } from '../load.ts';
import { type MeasuredLoad, measureLoad, singleTexts } from '../loads.ts';
import { type Measurement, short } from '../measurement.ts';
import { startService } from '../service.ts';
import { spread } from '../statistics.ts';

const TIMES_CAPACITY = 10;
const ACCEPTED_AT_MOST = 2;
const REFUSED_AT_MOST_MS = 20;
const CONNECTIONS = 64;

export const overload: Measurement = {
  name: 'overload',
  what: 'overload at ten times capacity',
  target: `p99 of answered at most ${ACCEPTED_AT_MOST} times that at capacity; the rest 429, their p99 under ${REFUSED_AT_MOST_MS} ms`,
  async run({ workload, cpus, effort }) {
    const service = await startService({ modelsDir: workload.modelsDir });
    const requests = singleTexts(workload);
    const { warmUpSeconds, seconds } = effort;
    const rounds: { atCapacityMs: number; answeredMs: number; refusedMs: number; refusedShare: number }[] = [];
    let strangers: Record<string, number> = {};
    let last: MeasuredLoad | undefined;
    for (let round = 0; round < Math.ceil(effort.rounds / 3); round++) {
      const base = { requests, warmUpSeconds, seconds: seconds * 2, seed: round + 1 };
      const full = await measureLoad(service, workload, cpus, { ...base, arrivals: { connections: CONNECTIONS } });
      const arrivals = { ratePerSecond: TIMES_CAPACITY * full.textsPerSecond };
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
      figures: { rounds, times, otherStatuses: strangers, generatorLateP99Ms: lateMs },
    };
  },
};

/** Any: what came is counted, not presumed. */
const EVERY_STATUS = Array.from({ length: 600 }, (_, status) => status);
