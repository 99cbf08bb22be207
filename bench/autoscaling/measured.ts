/** What the simulation takes from measurements, all of them in docs/performance. */
import { keptFile } from '../command.ts';
import { capacity } from '../queueing.ts';
import { readJson, type TableReport } from '../report.ts';
import type { ScaleReport } from '../scale.ts';
import { quantile } from '../statistics.ts';
import { createReplica, type ReplicaModel } from './replica.ts';

/** The wait with which a request is taken on while these were measured: QUEUE_WAIT_MS by default. */
const MEASURED_QUEUE_WAIT_SECONDS = 0.25;
const OVERLOAD = 10;
/** Of a calibration run. */
const SECONDS = 120;
const MOST_VARIATION = 50;

export interface Measured {
  readonly replica: ReplicaModel;
  /** Texts a second at saturation. */
  readonly capacity: number;
  readonly meanTokens: number;
  /** From the start of the process until it is ready. */
  readonly startSeconds: number;
  readonly cores: number;
  /** The model of a replica beside what was measured of a real one. */
  readonly check: readonly CheckRow[];
}

interface CheckRow {
  readonly what: string;
  readonly measured: number;
  readonly simulated: number;
}

/** @throws Error where docs/performance lacks a figure */
export function readMeasured(): Measured {
  const scale = readJson<ScaleReport>(keptFile('scale.json'));
  const table = readJson<TableReport>(keptFile('table.json'));
  if (scale === undefined || table === undefined)
    throw new Error(
      'docs/performance/scale.json and table.json are needed: npm run bench -- --save, npm run bench -- scale --save',
    );
  const figures = (name: string) => table.rows.find((row) => row.name === name)?.figures as never;
  const saturated = table.rows.find(({ name }) => name === 'throughput-1');
  const { queue, cores } = scale.replica;
  const overload = (figures('overload-1') as { rounds: readonly OverloadRound[] }).rounds;
  const median = (values: readonly number[]) => quantile(values, 0.5);
  const refusedShare = median(overload.map((round) => round.refusedShare));
  const answered = OVERLOAD * (1 - refusedShare);
  const full = capacity(queue);

  const base: ReplicaModel = {
    ...queue,
    overheadSeconds: (figures('latency') as { addedP50Ms: { median: number } }).addedP50Ms.median / 1000,
    // What a refusal takes from inference: ten times the capacity left so much of it.
    refusalSeconds: (queue.servers * (1 - answered)) / (OVERLOAD * refusedShare * full),
    cpuSecondsPerText:
      ((saturated?.cpu?.service ?? Number.NaN) * cores) /
      median((figures('throughput-1') as { serviceTextsPerSecond: number[] }).serviceTextsPerSecond),
    stretch: 1,
  };
  const overloadP99 = median(overload.map((round) => round.answeredMs)) / 1000;
  const replica = fitStretch(fitVariation(base, scale.check), OVERLOAD * full, overloadP99);
  const overloaded = runReplica(replica, OVERLOAD * full);

  return {
    replica,
    capacity: full,
    meanTokens: scale.replica.tokensPerText,
    startSeconds: median((figures('start') as { seconds: number[] }).seconds),
    cores,
    check: [
      ...scale.check.map(({ utilization, textsPerSecond, measuredMs }) => ({
        what: `mean wait at ${Math.round(utilization * 100)} % (ms)`,
        measured: measuredMs,
        simulated: 1000 * runReplica(replica, textsPerSecond).meanWaitSeconds,
      })),
      {
        what: 'p99 of answers at ten times the capacity (ms)',
        measured: 1000 * overloadP99,
        simulated: 1000 * overloaded.p99Seconds,
      },
      {
        what: 'refused at ten times the capacity (%)',
        measured: 100 * refusedShare,
        simulated: 100 * overloaded.refusedShare,
      },
    ],
  };
}

/**
 * Texts wait longer than a queue foretells, since they wait for batches and share cores. So the variation of service times is
 * raised until the simulated wait is at no load shorter than the measured one.
 */
function fitVariation(model: ReplicaModel, check: ScaleReport['check']): ReplicaModel {
  for (let { serviceScv } = model; serviceScv < MOST_VARIATION; serviceScv *= 1.1) {
    const tried = { ...model, serviceScv };
    const shorter = check.some(
      ({ textsPerSecond, measuredMs }) => 1000 * runReplica(tried, textsPerSecond).meanWaitSeconds < measuredMs,
    );
    if (!shorter) return tried;
  }
  throw new Error('No variation of service times explains the measured waits');
}

/** So much longer than foretold do requests wait, that their p99 in overload is the measured one. */
function fitStretch(model: ReplicaModel, ratePerSecond: number, p99Seconds: number): ReplicaModel {
  let fitted = model;
  for (let i = 0; i < 4; i++)
    fitted = { ...fitted, stretch: (fitted.stretch * p99Seconds) / runReplica(fitted, ratePerSecond).p99Seconds };
  return fitted;
}

interface OverloadRound {
  readonly answeredMs: number;
  readonly refusedShare: number;
}

/** One replica under a Poisson process. */
function runReplica(model: ReplicaModel, ratePerSecond: number) {
  const replica = createReplica(model, { queueWaitSeconds: MEASURED_QUEUE_WAIT_SECONDS, seed: 5 });
  const random = replica.random;
  const latencies: number[] = [];
  let now = 0;
  while (now < SECONDS) {
    const latency = replica.offer(now);
    if (latency !== undefined) latencies.push(latency);
    now += -Math.log(1 - random()) / ratePerSecond;
  }
  const { waitSeconds, waits, refused } = replica.counters;
  return {
    meanWaitSeconds: waitSeconds / waits,
    p99Seconds: quantile(latencies, 0.99),
    refusedShare: refused / (refused + waits),
  };
}
