/** The parts of the benchmark that figures are made with. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { keptFile } from '../../bench/command.ts';
import { sharesOf } from '../../bench/cpu-profile.ts';
import { kneeOf } from '../../bench/knee.ts';
import { describeRounds } from '../../bench/measurements/overload.ts';
import {
  capacity,
  highestUtilization,
  meanWait,
  type Queue,
  waitProbability,
  waitQuantile,
} from '../../bench/queueing.ts';
import { createRandom } from '../../bench/random.ts';
import { readJson } from '../../bench/report.ts';
import { planScale } from '../../bench/scale-plan.ts';
import { sumSeries } from '../../bench/service.ts';
import { quantile, slopeOf, studentT975 } from '../../bench/statistics.ts';

const near = (actual: number, expected: number, tolerance: number) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not within ${tolerance} of ${expected}`);

describe('statistics', () => {
  it('interpolates quantiles', () => {
    assert.equal(quantile([4, 1, 3, 2], 0.5), 2.5);
    assert.equal(quantile([7], 0.99), 7);
    near(
      quantile(
        Array.from({ length: 101 }, (_, i) => i),
        0.99,
      ),
      99,
      1e-9,
    );
    assert.throws(() => quantile([], 0.5), RangeError);
  });

  it("knows Student's t of the tables", () => {
    for (const [freedom, value] of [
      [1, 12.706],
      [4, 2.776],
      [8, 2.306],
      [30, 2.042],
    ] as const)
      near(studentT975(freedom), value, 0.003);
  });

  it('finds a slope, and none in noise', () => {
    const random = createRandom(3);
    const noise = () => random() - 0.5;
    const flat = Array.from({ length: 200 }, (_, i) => [i, 300 + noise()] as const);
    const growing = Array.from({ length: 200 }, (_, i) => [i, 300 + 0.1 * i + noise()] as const);
    const still = slopeOf(flat);
    assert.ok(still.low < 0 && still.high > 0);
    const leak = slopeOf(growing);
    assert.ok(leak.low > 0);
    near(leak.slope, 0.1, 0.01);
    assert.throws(() => slopeOf(flat.slice(0, 5)), RangeError);
  });

  it('marks the first point that is as good as the best', () => {
    assert.equal(
      kneeOf([
        { x: 1, y: 50 },
        { x: 2, y: 96 },
        { x: 4, y: 100 },
        { x: 8, y: 98 },
      ]),
      2,
    );
  });
});

describe('overload', () => {
  const rounds = [
    { atCapacityMs: 400, answeredMs: 8000, refusedMs: 900, refusedShare: 0.94 },
    { atCapacityMs: 300, answeredMs: 600, refusedMs: 100, refusedShare: 0.93 },
    { atCapacityMs: 350, answeredMs: 630, refusedMs: 80, refusedShare: 0.9 },
  ];

  it('tells the worst round beside the median', () => {
    assert.equal(
      describeRounds(rounds, 19.04, []),
      'answered p99 2 (1.8-20) times: 630 (600-8000) ms, at capacity 350 (300-400) ms; ' +
        '93 (90-94) % 429, p99 100 (80-900) ms; sender up to 19 ms late; nothing else',
    );
    assert.match(describeRounds(rounds, 0, ['503', '-1']), /; also 503, -1$/);
  });

  it('is so in the kept table', () => {
    type Kept = { rows: { name: string; measured: string; figures: Record<string, never> }[] };
    const kept = (readJson(keptFile('table.json')) as Kept).rows.filter(({ name }) => name.startsWith('overload-'));
    assert.equal(kept.length, 2);
    for (const { measured, figures } of kept)
      assert.equal(
        measured,
        describeRounds(figures.rounds ?? [], figures.generatorLateP99Ms ?? 0, Object.keys(figures.otherStatuses ?? {})),
      );
  });
});

describe('queueing', () => {
  const queue = (servers: number, serviceScv: number): Queue => ({ servers, serviceSeconds: 1, serviceScv });

  it('agrees with what is known of M/M/1, M/M/2 and M/D/1', () => {
    near(meanWait(queue(1, 1), 0.5), 1, 1e-12);
    near(waitProbability(2, 0.75), 0.642857142857, 1e-9);
    near(meanWait(queue(2, 1), 1.5), 1.285714285714, 1e-9);
    near(meanWait(queue(1, 0), 0.8), 2, 1e-12);
    assert.equal(meanWait(queue(2, 1), 2), Number.POSITIVE_INFINITY);
  });

  it('agrees with a simulation of an M/G/2 queue', () => {
    const random = createRandom(11);
    const exponential = (mean: number) => -Math.log(1 - random()) * mean;
    // Uniform on [0.5, 1.5]: mean 1, squared coefficient of variation 1/12.
    const free = [0, 0];
    let now = 0;
    let waited = 0;
    const arrivals = 400_000;
    for (let i = 0; i < arrivals; i++) {
      now += exponential(1 / 1.4);
      const server = (free[0] as number) <= (free[1] as number) ? 0 : 1;
      const begin = Math.max(now, free[server] as number);
      waited += begin - now;
      free[server] = begin + 0.5 + random();
    }
    const predicted = meanWait(queue(2, 1 / 12), 1.4);
    near(waited / arrivals / predicted, 1, 0.1);
  });

  it('has exponential tails, and the load that keeps one within a bound', () => {
    // M/M/1: P(W > t) = rho exp(-(1 - rho) t).
    near(waitQuantile(queue(1, 1), 0.5, 0.99), Math.log(50) / 0.5, 1e-9);
    assert.equal(waitQuantile(queue(8, 1), 0.8, 0.99), 0);
    const load = highestUtilization(queue(1, 1), 0.99, 10);
    assert.ok(waitQuantile(queue(1, 1), load, 0.99) <= 10);
    assert.ok(waitQuantile(queue(1, 1), load + 0.01, 0.99) > 10);
  });

  it('plans replicas that carry the load with one to spare', () => {
    const replica = {
      cores: 2,
      queue: { servers: 2, serviceSeconds: 0.005, serviceScv: 0.3 },
      mainMsPerText: 0.1,
      tokenizerMsPerText: 0.05,
      parameters: 22_600_000,
      tokensPerText: 40,
    };
    const plan = planScale(replica);
    assert.equal(plan.length, 6);
    for (const row of plan) {
      assert.ok((row.replicas - 1) * row.planned >= row.textsPerSecond, JSON.stringify(row));
      assert.ok(row.dollarsPerMillionTexts > 0);
    }
    assert.ok((plan[0]?.planned ?? 0) < capacity(replica.queue));
  });
});

describe('a CPU profile', () => {
  it('is summed by kind; what belongs to none counts for its caller, and waiting does not count', () => {
    const node = (id: number, functionName: string, url: string, children: number[] = []) => ({
      id,
      callFrame: { functionName, url, lineNumber: 9 },
      children,
    });
    const { busyUs, totalUs, groups, functions } = sharesOf({
      nodes: [
        node(1, '(root)', '', [2, 3, 4]),
        node(2, '(idle)', ''),
        node(3, '(garbage collector)', ''),
        node(4, 'take', 'file:///home/me/service/src/engine/scheduler.ts', [5, 6]),
        node(5, 'sort', ''),
        node(6, 'stringify', ''),
      ],
      samples: [2, 3, 4, 5, 6],
      timeDeltas: [900, 10, 20, 30, 40],
    });
    assert.deepEqual([busyUs, totalUs], [100, 1000]);
    assert.deepEqual(groups, [
      { group: 'scheduling', share: 0.5 },
      { group: 'JSON', share: 0.4 },
      { group: 'garbage collection', share: 0.1 },
    ]);
    assert.equal(functions.find(({ name }) => name === 'take')?.place, 'src/engine/scheduler.ts:10');
  });
});

it('sums the series of a metric', () => {
  const sums = sumSeries('# HELP a_total x\na_total{model="m"} 2\na_total{model="n",le="+Inf"} 3.5\nb 1e3\n');
  assert.deepEqual(
    [...sums],
    [
      ['a_total', 5.5],
      ['b', 1000],
    ],
  );
});
