/**
 * The service under mixed traffic at 70 % of what it can do, for long: errors, latency and memory over time.
 *
 *     node test/reliability/soak.ts [--minutes 30] [--share 0.7] [--models models] [--model olid-minilm] [--save FILE]
 *
 * Capacity is what a few connections get out of it in a closed loop of the same mix. Then requests arrive as a Poisson
 * process, in turns of a minute. Prints JSON; ends with 1 when a request got another status than it should, memory still
 * grows after the warm-up (the 95 % interval of its slope lies above zero), or the p99 of the last third is more than
 * half again that of the first. Memory is the PSS of all processes less the main process's compiled code, which V8 adds
 * to, ever less, for hours; with it the slope is stated too. Needs Linux.
 */
import { parseArgs } from 'node:util';
import { type LoadResult, latencies, sendLoad } from '../../bench/load.ts';
import { memoryByProcess, type ProcessUse, totalPss } from '../../bench/processes.ts';
import { conditionsOf } from '../../bench/report.ts';
import { startService } from '../../bench/service.ts';
import { quantile, slopeOf, spread, tenth } from '../../bench/statistics.ts';
import { loadWorkload } from '../../bench/workload.ts';
import { usableCpus } from '../../src/engine/cpus.ts';
import { expectedStatus, KINDS, mixedTraffic } from './mixed-traffic.ts';
import { conclude } from './verdict.ts';

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    share: { type: 'string', default: '0.7' },
    models: { type: 'string', default: 'models' },
    model: { type: 'string', default: 'olid-minilm' },
    save: { type: 'string' },
  },
});
const minutes = Number(options.minutes);
const CAPACITY_SECONDS = 15;
const CONNECTIONS = 16;
const SAMPLES = 300;
/** In which caches fill and every process's heap finds its size: of 30 minutes it took 12. */
const WARM_UP_SHARE = 0.5;
const P99_GROWTH = 1.5;

const workload = await loadWorkload({
  modelsDir: options.models,
  model: options.model,
  dataDir: process.env.DSLORA_DATA_DIR,
  texts: 860,
});
const requests = mixedTraffic(workload);
const service = await startService({ modelsDir: options.models, env: { DEFAULT_MODEL: options.model }, probe: true });
const full = await sendLoad(service.url, {
  requests,
  arrivals: { connections: CONNECTIONS },
  warmUpSeconds: 5,
  seconds: CAPACITY_SECONDS,
});
const capacity = full.report.status.length / CAPACITY_SECONDS;

const begun = performance.now();
const memory: { readonly seconds: number; readonly uses: readonly ProcessUse[]; readonly compiledMiB: number }[] = [];
const sampler = setInterval(
  async () => {
    const compiledMiB = await service.ask('compiled');
    memory.push({ seconds: (performance.now() - begun) / 1000, uses: service.use(), compiledMiB });
  },
  (minutes * 60_000) / SAMPLES,
);
const turns: { p50Ms: number; p99Ms: number; shortP99Ms: number; requests: number; unexpected: number }[] = [];
const unexpected: Record<string, number> = {};
const turnSeconds = Math.min(60, minutes * 60);
for (let turn = 0; turn < Math.max(1, minutes); turn++) {
  const result = await sendLoad(service.url, {
    requests,
    arrivals: { ratePerSecond: Number(options.share) * capacity },
    warmUpSeconds: 0,
    seconds: turnSeconds,
    seed: turn + 1,
  });
  const wrong = unexpectedOf(result);
  for (const name of wrong) unexpected[name] = (unexpected[name] ?? 0) + 1;
  const all = Float64Array.from([...latencies(result), ...latencies(result, 400)]);
  turns.push({
    p50Ms: quantile(all, 0.5),
    p99Ms: quantile(all, 0.99),
    shortP99Ms: quantile(latencies(result, 200, 0), 0.99),
    requests: result.report.status.length,
    unexpected: wrong.length,
  });
}
clearInterval(sampler);
await service.stop('SIGTERM');

const settled = memory.filter(({ seconds }) => seconds >= minutes * 60 * WARM_UP_SHARE);
const slope = slopeOf(settled.map(({ seconds, uses }) => [seconds / 60, totalPss(uses)]));
const slopeLessCode = slopeOf(
  settled.map(({ seconds, uses, compiledMiB }) => [seconds / 60, totalPss(uses) - compiledMiB]),
);
const third = Math.max(1, Math.floor(turns.length / 3));
const p99 = {
  first: spread(turns.slice(0, third).map(({ p99Ms }) => p99Ms)).median,
  last: spread(turns.slice(-third).map(({ p99Ms }) => p99Ms)).median,
};
const holds = {
  errors: Object.keys(unexpected).length === 0,
  memory: slopeLessCode.low <= 0,
  p99: p99.last <= P99_GROWTH * p99.first,
};
const result = {
  conditions: conditionsOf(workload, usableCpus(), `${minutes} minutes`),
  capacityRequestsPerSecond: capacity,
  share: Number(options.share),
  requests: turns.reduce((sum, turn) => sum + turn.requests, 0),
  unexpected,
  p99Ms: p99,
  pssMiB: {
    slopePerMinute: slope,
    slopeLessCompiledPerMinute: slopeLessCode,
    settled: sizes(settled[0]),
    last: sizes(settled.at(-1)),
  },
  turns,
  memory: memory.map(({ seconds, uses, compiledMiB }) => [
    Math.round(seconds),
    tenth(totalPss(uses)),
    tenth(compiledMiB),
  ]),
  holds,
};
conclude(result, options.save);

function sizes(sample: (typeof memory)[number] | undefined) {
  return {
    compiledMiB: tenth(sample?.compiledMiB ?? Number.NaN),
    processes: memoryByProcess(sample?.uses),
  };
}

/** @returns kind and status of each answer that should have been another one */
function unexpectedOf({ load, report }: LoadResult): string[] {
  return [...report.status].flatMap((status, i) => {
    const kind = load.requests[report.request[i] as number]?.kind ?? 0;
    return status === expectedStatus(kind) ? [] : [`${KINDS[kind]}: ${status}`];
  });
}
