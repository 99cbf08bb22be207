/**
 * The plan of scale: service times are measured, a queueing model predicts how long texts wait, the running service says
 * how long they do, and the model then says how many replicas a load needs.
 */
import { type Command, keptFile } from './command.ts';
import { groupedTexts, measureLoad, singleTexts } from './loads.ts';
import { type Bench, short } from './measurement.ts';
import { capacity, meanWait, type Queue } from './queueing.ts';
import { type Conditions, describeConditions, writeJson } from './report.ts';
import { ASSUMPTIONS, type PlanRow, planScale, type Replica } from './scale-plan.ts';
import { startService } from './service.ts';
import { mean } from './statistics.ts';

const UTILIZATIONS = [0.3, 0.5, 0.7, 0.85];
/** A mean wait needs many texts. */
const CHECK_TURN = 4;

export interface ScaleReport {
  readonly conditions: Conditions;
  readonly assumptions: typeof ASSUMPTIONS;
  readonly replica: Replica;
  readonly check: readonly WaitCheck[];
  readonly plan: readonly PlanRow[];
}

interface WaitCheck {
  readonly utilization: number;
  readonly textsPerSecond: number;
  /** Mean over windows, from arrival in the queue to the start of their batch. */
  readonly predictedMs: number;
  readonly measuredMs: number;
}

export const scale: Command = async ({ bench, conditions, save, say }) => {
  const { workload, cpus, effort } = bench;
  say('measuring service times …');
  const serviceScv = await variationOfServiceTimes(bench);
  const service = await startService({ modelsDir: workload.modelsDir });
  const servers = service.use().filter(({ role }) => role === 'inference').length || cpus;
  const { warmUpSeconds } = effort;
  const single = singleTexts(workload);
  const full = { arrivals: { connections: 64 }, warmUpSeconds, seconds: effort.seconds * 2 };
  const saturated = await measureLoad(service, workload, cpus, { ...full, requests: single });
  const of32 = await measureLoad(service, workload, cpus, {
    ...full,
    requests: groupedTexts(workload, 32),
    arrivals: { connections: 4 },
  });
  // What a worker takes for a text when all are busy: batches, and what the other processes take of the cores, included.
  const queue: Queue = { servers, serviceSeconds: servers / saturated.textsPerSecond, serviceScv };

  const check: WaitCheck[] = [];
  for (const utilization of UTILIZATIONS) {
    say(`measuring the wait at ${utilization * 100} % …`);
    const textsPerSecond = utilization * capacity(queue);
    const arrivals = { ratePerSecond: textsPerSecond };
    const before = await waitsOf(service);
    const load = { requests: single, arrivals, warmUpSeconds: 0, seconds: effort.seconds * CHECK_TURN };
    await measureLoad(service, workload, cpus, load);
    const after = await waitsOf(service);
    const measuredMs = (1000 * (after.seconds - before.seconds)) / Math.max(1, after.windows - before.windows);
    check.push({ utilization, textsPerSecond, predictedMs: 1000 * meanWait(queue, textsPerSecond), measuredMs });
  }
  await service.stop();

  const replica: Replica = {
    cores: cpus,
    queue,
    mainMsPerText: of32.cpuMsPerText.main ?? Number.NaN,
    tokenizerMsPerText: of32.cpuMsPerText.tokenizer ?? Number.NaN,
    parameters: workload.manifest.base.parameters,
    tokensPerText: workload.meanTokens,
  };
  const report: ScaleReport = { conditions, assumptions: ASSUMPTIONS, replica, check, plan: planScale(replica) };
  if (save) writeJson(keptFile('scale.json'), report);
  return { text: scaleMarkdown(report), json: report };
};

/** Squared coefficient of variation of one text's time in the graph, over the mix of lengths. */
async function variationOfServiceTimes({ workload, bare }: Bench): Promise<number> {
  const byWindow = [...(await bare.latencies(1, workload.windows))];
  let next = 0;
  const times = workload.texts.map(({ windows }) => windows.reduce((sum) => sum + (byWindow[next++] as number), 0));
  const average = mean(times);
  return mean(times.map((time) => (time - average) ** 2)) / average ** 2;
}

async function waitsOf(service: { metrics(): Promise<ReadonlyMap<string, number>> }) {
  const metrics = await service.metrics();
  const seconds = metrics.get('dslora_queue_wait_seconds_sum');
  const windows = metrics.get('dslora_queue_wait_seconds_count');
  if (seconds === undefined || windows === undefined) throw new Error('/metrics counts no waits, which are compared');
  return { seconds, windows };
}

export function scaleMarkdown({ conditions, replica, check, plan }: ScaleReport): string {
  const { queue } = replica;
  const line = (...cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`;
  return [
    describeConditions(conditions),
    '',
    `One replica (${replica.cores} cores): ${short(capacity(queue))} texts/s at saturation with one text a request, so ` +
      `${short(queue.serviceSeconds * 1000)} ms a text and worker (${queue.servers} workers); squared coefficient of variation ` +
      `${short(queue.serviceScv)}. With 32 texts a request the main process takes ${short(replica.mainMsPerText)} ms of processor ` +
      `time a text and the tokenizer process ${short(replica.tokenizerMsPerText)} ms.`,
    '',
    line('utilisation', 'texts/s', 'mean wait predicted (ms)', 'measured (ms)', 'measured / predicted'),
    line('---', '---', '---', '---', '---'),
    ...check.map((c) =>
      line(
        `${short(c.utilization * 100)} %`,
        short(c.textsPerSecond),
        short(c.predictedMs),
        short(c.measuredMs),
        short(c.measuredMs / c.predictedMs),
      ),
    ),
    '',
    line(
      'texts/s',
      'device',
      'planned for a replica (texts/s)',
      'utilisation',
      'replicas',
      'cores',
      '$ a million texts',
      'limit of a replica',
    ),
    line('---', '---', '---', '---', '---', '---', '---', '---'),
    ...plan.map((row) =>
      line(
        row.textsPerSecond.toLocaleString('en'),
        row.device,
        short(row.planned),
        `${short(row.utilization * 100)} %`,
        row.replicas.toLocaleString('en'),
        row.cores.toLocaleString('en'),
        short(row.dollarsPerMillionTexts),
        row.limit,
      ),
    ),
  ].join('\n');
}
