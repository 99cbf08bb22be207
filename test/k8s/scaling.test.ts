/** What the autoscalers are told: queries that compute what they say, thresholds that were measured, and an objective that holds. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { stringify } from 'yaml';

import { type Measured, readMeasured } from '../../bench/autoscaling/measured.ts';
import { type AutoscalingReport, readBothDeployed, runScenario } from '../../bench/autoscaling/report.ts';
import { OBJECTIVE, SCENARIOS } from '../../bench/autoscaling/scenarios.ts';
import { keptFile } from '../../bench/command.ts';
import { readJson } from '../../bench/report.ts';
import type { ScaleReport } from '../../bench/scale.ts';
import { overlay } from '../../scripts/kustomize.ts';
import { createMetrics } from '../../src/observability/metrics.ts';
import { runCommand } from '../runner/command.ts';
import { KUBERNETES } from '../runner/python-environment.ts';
import { specOf } from './objects.ts';

const queries = new Map<string, string>();

before(async () => {
  assert.equal((await KUBERNETES.prepare()).failed, 0);
  const scaled = (await overlay('cpu', ['monitoring', 'keda'])).find(({ kind }) => kind === 'ScaledObject');
  assert.ok(scaled);
  const { triggers } = specOf<{ triggers: { name: string; metadata: { query: string } }[] }>(scaled);
  for (const { name, metadata } of triggers) queries.set(name, metadata.query);
});

const series = (name: string, labels: string, values: string) => ({ series: `dslora_${name}{${labels}}`, values });
const JOB = 'job="dslora",namespace="dslora"';
/** Two pods that each do the same every five seconds. */
const pods = (name: string, labels: string, every5s: string) =>
  ['a', 'b'].map((pod) => series(name, `${JOB},pod="${pod}"${labels}`, every5s));

const MODEL = ',model="m"';
const UP = ['a', 'b'].map((pod) => ({ series: `up{${JOB},pod="${pod}"}`, values: '1+0x40' }));
const NO_LOAD = [
  ...UP,
  ...pods('batch_tokens_sum', MODEL, '7+0x40'),
  ...pods('tokenize_seconds_count', MODEL, '7+0x40'),
];
const LOAD = [
  ...UP,
  ...pods('batch_tokens_sum', MODEL, '0+1000x40'),
  ...pods('tokenize_seconds_count', MODEL, '0+50x40'),
];
const refused = (priority: string, reason: string, values: string) =>
  pods('refused_total', `${MODEL},priority="${priority}",reason="${reason}"`, values);
const waits = (sum: string, count: string) => [
  ...UP,
  ...pods('queue_wait_seconds_sum', MODEL, sum),
  ...pods('queue_wait_seconds_count', MODEL, count),
];

const CASES: readonly (readonly [what: string, query: string, input: object[], value: number | undefined])[] = [
  ['no pod is there', 'load', [], undefined],
  ['no pod can be scraped', 'load', pods('batch_tokens_sum', MODEL, '0+1000x40'), undefined],
  ['nothing was ever asked', 'load', UP, 0],
  ['nothing is asked', 'load', NO_LOAD, 0],
  ['tokens a second of all pods', 'load', LOAD, 400],
  ['no others', 'load', [...LOAD, series('batch_tokens_sum', 'job="other",pod="a"', '0+9000x40')], 400],
  [
    'nor another namespace',
    'load',
    [...LOAD, series('batch_tokens_sum', 'job="dslora",namespace="bulk",pod="a"', '0+9000x40')],
    400,
  ],
  ['as much more as was refused', 'load', [...LOAD, ...refused('interactive', 'wait', '0+100x40')], 1200],
  [
    'by any bound',
    'load',
    [...LOAD, ...refused('interactive', 'windows', '0+50x40'), ...refused('interactive', 'wait', '0+50x40')],
    1200,
  ],
  ['but bulk', 'load', [...LOAD, ...refused('bulk', 'wait', '0+100x40')], 400],
  ['and bad texts', 'load', [...LOAD, ...refused('interactive', 'quarantined', '0+100x40')], 400],
  ['half the wait that is too long', 'queue-wait', waits('0+0.24x40', '0+20x40'), 0.5],
  ['one and a half of it', 'queue-wait', waits('0+0.72x40', '0+20x40'), 1.5],
  ['ten of it count as two', 'queue-wait', waits('0+4.8x40', '0+20x40'), 2],
  ['no pod is there', 'queue-wait', [], undefined],
  ['nobody ever waited', 'queue-wait', UP, 0],
  ['nobody waits', 'queue-wait', waits('3+0x40', '3+0x40'), 0],
];

describe('the queries of the ScaledObject', () => {
  it('compute what the simulation takes them for', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'dslora-keda-'));
    try {
      const tests = CASES.map(([name, query, input_series, value]) => ({
        name,
        interval: '5s',
        input_series,
        promql_expr_test: [
          {
            expr: `round(${queries.get(query)}, 0.001)`,
            eval_time: '2m',
            exp_samples: value === undefined ? [] : [{ labels: '{}', value }],
          },
        ],
      }));
      const file = join(folder, 'queries.test.yml');
      writeFileSync(file, stringify({ evaluation_interval: '5s', tests }));
      const { code, output } = await runCommand('promtool', ['test', 'rules', file]);
      assert.equal(code, 0, output);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('ask for metrics that the service has', async () => {
    const exposed = await createMetrics({ process: false }).expose();
    const names = [...queries.values()].flatMap((query) => query.match(/dslora_\w+/g) ?? []);
    assert.equal(names.length, 5);
    for (const name of names) {
      const family = name.replace(/_(sum|count)$/, '');
      assert.match(exposed, new RegExp(`^# TYPE ${family} `, 'm'), name);
    }
  });
});

describe('scaling', () => {
  let kept: AutoscalingReport;
  let deployed: AutoscalingReport['deployed'];
  let measured: Measured;
  before(async () => {
    kept = readJson<AutoscalingReport>(keptFile('autoscaling.json')) as AutoscalingReport;
    deployed = await readBothDeployed();
    measured = readMeasured();
  });
  const near = (actual: number, expected: number, share: number, what: string) =>
    assert.ok(Math.abs(actual / expected - 1) <= share, `${what}: ${actual} is not within ${share} of ${expected}`);

  it('has thresholds that follow from measurements', () => {
    const { metric } = deployed.keda.rules;
    assert.ok(metric.kind === 'load');
    near(metric.tokensPerSecond, 0.6 * measured.capacity * measured.meanTokens, 0.1, 'load, 60 % of the capacity');
    const { check } = readJson<ScaleReport>(keptFile('scale.json')) as ScaleReport;
    const at85 = check.find(({ utilization }) => utilization === 0.85)?.measuredMs ?? 0;
    near(metric.waitSeconds, at85 / 1000, 0.25, 'wait at 85 %');
    // Queries need several samples.
    assert.ok(metric.windowSeconds >= 4 * metric.scrapeSeconds);
  });

  it('was simulated as it is deployed and measured', () => {
    const said = 'run `npm run autoscale -- --save` and `npm run docs`';
    assert.deepEqual(kept.deployed, deployed, said);
    near(kept.measured.capacity, measured.capacity, 1e-9, said);
    for (const [i, { what, simulated, measured: real }] of measured.check.entries()) {
      near(kept.measured.check[i]?.measured ?? 0, real, 1e-9, said);
      near(kept.measured.check[i]?.simulated ?? 0, simulated, 0.2, `${what}: ${said}`);
    }
  });

  it('is simulated with replicas that are no better than the measured one', () => {
    for (const { what, simulated, measured: real } of measured.check.slice(0, -1))
      assert.ok(simulated >= 0.97 * real, `${what}: ${simulated}, measured ${real}`);
  });

  for (const scaler of ['keda', 'hpa'] as const)
    it(`carries a tenfold spike within the objective: ${scaler}`, () => {
      const scenario = SCENARIOS.find(({ name }) => name === scaler);
      assert.ok(scenario);
      const { row } = runScenario({ ...scenario, seeds: [1] }, measured, deployed[scaler], kept.baseTextsPerSecond);
      assert.ok(row.budgetShare <= OBJECTIVE.spikeBudget, `${row.budgetShare} of a month's misses`);
      assert.ok(row.p999Ms <= 1000 * OBJECTIVE.patienceSeconds, `${row.p999Ms} ms`);
      assert.ok(row.secondsOfRefusing !== null && row.secondsOfRefusing > 0, `${row.secondsOfRefusing} s`);
      const saved = kept.rows.find(({ name }) => name === scaler);
      assert.ok((saved?.budgetShare ?? 1) <= OBJECTIVE.spikeBudget);
      assert.ok(row.budgetShare <= 1.2 * (saved?.budgetShare ?? 0), 'the kept figure is the worst of several');
    });
});
