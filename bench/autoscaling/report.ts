/** Runs scenarios, and says what came of them. */
import { short } from '../measurement.ts';
import { type ClusterReport, type Moment, simulate } from './cluster.ts';
import type { Measured } from './measured.ts';
import { type Deployed, readDeployed } from './scaling-rules.ts';
import { ASSUMPTIONS, monthlyBudget, OBJECTIVE, type Scenario, secondsOf, spikeLoad } from './scenarios.ts';

export interface ScenarioRow {
  readonly name: string;
  readonly scaler: Scenario['scaler'];
  readonly shape: Scenario['shape'];
  readonly node: Scenario['node'];
  readonly retries: number;
  readonly minReplicas: number;
  readonly podStartSeconds: number;
  /** Of several starts of the random numbers the one that used most of the budget. */
  readonly refusedShare: number;
  readonly lateShare: number;
  readonly unansweredShare: number;
  /** Of a month's misses. */
  readonly budgetShare: number;
  /** From the beginning of the spike until five seconds without a refusal; null: never. */
  readonly secondsOfRefusing: number | null;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly slowerThanHalfASecond: number;
  readonly mostReplicas: number;
  readonly dollarsAMonth: number;
  readonly dollarsOfSpike: number;
}

export interface AutoscalingReport {
  readonly objective: typeof OBJECTIVE;
  readonly assumptions: typeof ASSUMPTIONS;
  readonly measured: Measured;
  readonly deployed: Readonly<Record<'hpa' | 'keda', Deployed>>;
  readonly baseTextsPerSecond: number;
  readonly rows: readonly ScenarioRow[];
  /** Whole numbers, a list a column. */
  readonly timelines: Readonly<Record<'hpa' | 'keda', Readonly<Record<string, readonly number[]>>>>;
}

export function columnsOf(timeline: readonly Moment[]): Readonly<Record<string, readonly number[]>> {
  const names = Object.keys(timeline[0] ?? {}) as (keyof Moment)[];
  return Object.fromEntries(names.map((name) => [name, timeline.map((moment) => Math.round(moment[name]))]));
}

export async function readBothDeployed(): Promise<AutoscalingReport['deployed']> {
  return { hpa: await readDeployed('hpa'), keda: await readDeployed('keda') };
}

/** Requests a second before and after the spike: a share of what the autoscaler's least number of replicas carries. */
export function baseLoad(measured: Measured, { rules }: Deployed): number {
  return Math.round(ASSUMPTIONS.baseUtilization * rules.minReplicas * measured.capacity);
}

export function runScenario(scenario: Scenario, measured: Measured, deployed: Deployed, base: number) {
  const { scaler, shape, node, retries, name } = scenario;
  const minReplicas = scenario.minReplicas ?? deployed.rules.minReplicas;
  const { schedulingSeconds, pullSeconds, nodeSeconds, endpointSeconds } = ASSUMPTIONS;
  const image = node === 'has the image' ? 0 : pullSeconds;
  const podStartSeconds =
    schedulingSeconds +
    image +
    (node === 'must be started' ? nodeSeconds : 0) +
    measured.startSeconds +
    deployed.readinessSeconds +
    endpointSeconds;
  const reports = scenario.seeds.map((seed) =>
    simulate({
      model: measured.replica,
      meanTokens: measured.meanTokens,
      deployed: { ...deployed, rules: { ...deployed.rules, minReplicas } },
      podStartSeconds,
      load: spikeLoad(base, shape),
      seconds: secondsOf(shape),
      retries,
      patienceSeconds: OBJECTIVE.patienceSeconds,
      seed,
    }),
  );
  const misses = ({ refused, late }: ClusterReport) => refused + late;
  const worst = reports.reduce((most, report) => (misses(report) > misses(most) ? report : most));
  const dollars = (replicas: number, hours: number) =>
    replicas * measured.cores * ASSUMPTIONS.dollarsPerCoreHour * hours;
  const row: ScenarioRow = {
    name,
    scaler,
    shape,
    node,
    retries,
    minReplicas,
    podStartSeconds,
    refusedShare: worst.refused / worst.requests,
    lateShare: worst.late / worst.requests,
    unansweredShare: worst.unanswered / worst.requests,
    budgetShare: misses(worst) / monthlyBudget(base),
    secondsOfRefusing: secondsOfRefusing(worst.timeline),
    p99Ms: 1000 * worst.latencySeconds(0.99),
    p999Ms: 1000 * worst.latencySeconds(0.999),
    slowerThanHalfASecond: worst.slowerThan(0.5),
    mostReplicas: Math.max(...worst.timeline.map(({ wanted }) => wanted)),
    dollarsAMonth: dollars(minReplicas, 30 * 24),
    dollarsOfSpike: dollars(worst.replicaSeconds / 3600, 1) - dollars(minReplicas, secondsOf(shape) / 3600),
  };
  return { row, timeline: worst.timeline };
}

function secondsOfRefusing(timeline: readonly Moment[]): number | null {
  const spike = timeline.filter(({ at }) => at >= ASSUMPTIONS.beforeSeconds);
  const last = spike.findLast(({ refused }) => refused > 0);
  if (last === undefined) return 0;
  return last === spike.at(-1) ? null : last.at + (spike[1]?.at ?? 0) - (spike[0]?.at ?? 0) - ASSUMPTIONS.beforeSeconds;
}

export function autoscalingMarkdown(report: AutoscalingReport): string {
  const { measured, rows, objective, assumptions, deployed, baseTextsPerSecond: base } = report;
  const line = (...cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`;
  const percent = (share: number) => `${short(100 * share)} %`;
  const title = ({ scaler, shape, node, retries, minReplicas }: ScenarioRow) =>
    [
      scaler === 'hpa' ? 'base (processor use)' : 'component keda',
      shape,
      `node ${node}`,
      ...(retries > 0 ? [`clients try ${retries} times more`] : []),
      ...(minReplicas === deployed[scaler].rules.minReplicas ? [] : [`**${minReplicas} replicas at least**`]),
    ].join(', ');
  return [
    `Base load ${base} texts a second, one a request, on ${deployed.keda.rules.minReplicas} replicas of ${measured.cores} cores; ` +
      `then ${assumptions.spike} times that for ${assumptions.spikeSeconds / 60} minutes. Of several phases of scrapes and syncs the worst.`,
    '',
    line(
      'scaling, rise, node',
      'pod starts in',
      'refused',
      `later than ${1000 * objective.patienceSeconds} ms`,
      'of a month’s misses',
      'refusals end after',
      'p99.9',
      'over 500 ms',
      'most replicas',
      '$ a month, $ for the spike',
    ),
    line('---', '---', '---', '---', '---', '---', '---', '---', '---', '---'),
    ...rows.map((row) =>
      line(
        title(row),
        `${short(row.podStartSeconds)} s`,
        percent(row.refusedShare),
        percent(row.lateShare),
        percent(row.budgetShare),
        row.secondsOfRefusing === null ? 'never' : `${row.secondsOfRefusing} s`,
        `${short(row.p999Ms)} ms`,
        percent(row.slowerThanHalfASecond),
        row.mostReplicas,
        `${short(row.dollarsAMonth)}, ${short(row.dollarsOfSpike)}`,
      ),
    ),
    '',
    'The model of one replica beside a real one:',
    '',
    line('what', 'measured', 'simulated'),
    line('---', '---', '---'),
    ...measured.check.map((check) => line(check.what, short(check.measured), short(check.simulated))),
  ].join('\n');
}
