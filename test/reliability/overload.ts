/**
 * Ten times what the service can do, for minutes, and how soon it is itself again.
 *
 *     node test/reliability/overload.ts [--minutes 5] [--times 10] [--models models] [--model olid-minilm] [--save FILE]
 *
 * Before, during and after: 30 s at half of its capacity, the overload, then the same half again in turns of a second.
 * Requests of 32 texts, so that the graph is overrun and not the sender. Prints JSON; ends with 1 when anything but 200
 * and 429 came, or p99 was not back (at most twice what it was) within 5 s.
 */
import { parseArgs } from 'node:util';

import { latencyAt, sendLoad, statuses } from '../../bench/load.ts';
import { groupedTexts } from '../../bench/loads.ts';
import { conditionsOf } from '../../bench/report.ts';
import { startService } from '../../bench/service.ts';
import { loadWorkload } from '../../bench/workload.ts';
import { usableCpus } from '../../src/engine/cpus.ts';
import { conclude } from './verdict.ts';

const { values: options } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    times: { type: 'string', default: '10' },
    models: { type: 'string', default: 'models' },
    model: { type: 'string', default: 'olid-minilm' },
    save: { type: 'string' },
  },
});
const seconds = Number(options.minutes) * 60;
const TEXTS = 32;
const CONNECTIONS = 4;
const CALM_SECONDS = Math.min(30, seconds);
const RECOVERY_TURNS = 10;
const RECOVERED_WITHIN_S = 5;
const BACK_TO_NORMAL = 2;

const workload = await loadWorkload({
  modelsDir: options.models,
  model: options.model,
  dataDir: process.env.DSLORA_DATA_DIR,
  texts: 860,
});
const requests = groupedTexts(workload, TEXTS);
const service = await startService({ modelsDir: options.models });
const send = (ratePerSecond: number, duration: number) =>
  sendLoad(service.url, { requests, arrivals: { ratePerSecond }, warmUpSeconds: 0, seconds: duration });

const closed = { requests, arrivals: { connections: CONNECTIONS }, warmUpSeconds: 5, seconds: 15 };
const full = await sendLoad(service.url, closed);
const capacity = full.report.status.length / closed.seconds;
const calm = await send(capacity / 2, CALM_SECONDS);
const calmP99Ms = latencyAt(calm, 0.99) ?? Number.NaN;
const over = await send(Number(options.times) * capacity, seconds);
const after: { second: number; p99Ms: number | undefined; statuses: Readonly<Record<string, number>> }[] = [];
for (let second = 1; second <= RECOVERY_TURNS; second++) {
  const turn = await send(capacity / 2, 1);
  after.push({ second, p99Ms: latencyAt(turn, 0.99), statuses: statuses(turn) });
}
await service.stop('SIGTERM');

const normal = ({ p99Ms = Number.POSITIVE_INFINITY, statuses: counts }: (typeof after)[number]) =>
  p99Ms <= BACK_TO_NORMAL * calmP99Ms && Object.keys(counts).every((status) => status === '200');
const recoveredAfterS = after.findIndex((_, i) => after.slice(i).every(normal));
const strangers = Object.keys(statuses(over)).filter((status) => status !== '200' && status !== '429');
const holds = {
  statuses: strangers.length === 0,
  recovery: recoveredAfterS >= 0 && recoveredAfterS < RECOVERED_WITHIN_S,
};
const result = {
  conditions: conditionsOf(workload, usableCpus(), `${options.minutes} minutes`),
  capacityRequestsPerSecond: capacity,
  times: Number(options.times),
  calmP99Ms,
  overloadStatuses: statuses(over),
  overloadAnsweredP99Ms: latencyAt(over, 0.99),
  overloadRefusedP99Ms: latencyAt(over, 0.99, 429),
  senderLateP99Ms: over.report.lateMs,
  recoveredAfterS,
  after,
  holds,
};
conclude(result, options.save);
