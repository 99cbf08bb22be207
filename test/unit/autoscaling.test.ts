/** The parts that the autoscaling simulation is made of, against what Kubernetes, Prometheus and queueing theory say. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { createLimits, desiredBySum, desiredByUse, desiredByValue } from '../../bench/autoscaling/autoscaler.ts';
import { simulate } from '../../bench/autoscaling/cluster.ts';
import { createReplica, type ReplicaModel } from '../../bench/autoscaling/replica.ts';
import type { Deployed, ScalingRules } from '../../bench/autoscaling/scaling-rules.ts';
import { rate } from '../../bench/autoscaling/scraped-rate.ts';
import { meanWait } from '../../bench/queueing.ts';

const near = (actual: number, expected: number, share: number) =>
  assert.ok(Math.abs(actual / expected - 1) <= share, `${actual} is not within ${share} of ${expected}`);

const MODEL: ReplicaModel = {
  servers: 2,
  serviceSeconds: 0.004,
  serviceScv: 1,
  overheadSeconds: 0.001,
  refusalSeconds: 0.0001,
  cpuSecondsPerText: 0.004,
  stretch: 1,
};
const RULES: ScalingRules = {
  minReplicas: 2,
  maxReplicas: 20,
  scaleUp: { stabilizationWindowSeconds: 0, policies: [{ type: 'Percent', value: 100, periodSeconds: 15 }] },
  scaleDown: { stabilizationWindowSeconds: 300, policies: [{ type: 'Pods', value: 2, periodSeconds: 60 }] },
  metric: { kind: 'cpu', utilization: 0.5, requestedCores: 2 },
};

describe('a simulated replica', () => {
  const run = (model: ReplicaModel, ratePerSecond: number, seconds: number) => {
    const replica = createReplica(model, { queueWaitSeconds: 0.25, seed: 3 });
    let now = 0;
    while (now < seconds) {
      replica.offer(now);
      now += -Math.log(1 - replica.random()) / ratePerSecond;
    }
    return replica.counters;
  };

  it('waits as the queueing formula says', () => {
    // M/G/c by Allen and Cunneen; the log-normal's third moment, which the formula does not know, costs some percent.
    for (const utilization of [0.5, 0.7]) {
      const perSecond = (utilization * MODEL.servers) / MODEL.serviceSeconds;
      const { waitSeconds, waits, refused } = run(MODEL, perSecond, 400);
      near(waitSeconds / waits, meanWait(MODEL, perSecond), 0.12);
      assert.equal(refused, 0);
    }
  });

  it('answers no more than it can, and less while it must refuse much', () => {
    const twice = run(MODEL, 1000, 60);
    const tenfold = run(MODEL, 5000, 60);
    near(twice.taken / 60, 500 - (500 * 0.0001) / 0.004, 0.03);
    near(tenfold.refused / (tenfold.refused + tenfold.taken), 1 - tenfold.taken / 60 / 5000, 0.01);
    assert.ok(tenfold.taken < 0.93 * twice.taken);
  });

  it('counts processor time', () => {
    const { taken, refused, cpuSeconds } = run(MODEL, 1000, 10);
    near(cpuSeconds, taken * 0.004 + refused * 0.0001, 1e-9);
  });
});

describe('the autoscaler', () => {
  it('keeps what is within a tenth, and rounds up', () => {
    assert.equal(desiredByUse(4, [0.5, 0.5, 0.55, 0.55], 0.5), 4);
    assert.equal(desiredByUse(4, [0.6, 0.6, 0.6, 0.6], 0.5), 5);
    assert.equal(desiredByUse(4, [0.2, 0.2, 0.2, 0.2], 0.5), 2);
    assert.equal(desiredBySum(4, 43, 10), 4);
    assert.equal(desiredBySum(4, 45, 10), 5);
    assert.equal(desiredBySum(4, 11, 10), 2);
    assert.equal(desiredByValue(4, 3, 2), 6);
    assert.equal(desiredByValue(4, 3, 1.05), 4);
  });

  it('counts pods without a measurement as idle when it would add some, as just right when it would remove some', () => {
    // Two at 100 % of 50 % wish for four; the two that start are those.
    assert.equal(desiredByUse(4, [1, 1, undefined, undefined], 0.5), 4);
    assert.equal(desiredByUse(3, [1, 1, undefined], 0.5), 4);
    assert.equal(desiredByUse(4, [0.1, 0.1, undefined, undefined], 0.5), 3);
    assert.equal(desiredByUse(2, [undefined, undefined], 0.5), 2);
  });

  it('takes no longer step than its policies allow, and no step down before the window has passed', () => {
    const limits = createLimits(RULES);
    assert.equal(limits.next(0, 2, 15), 4);
    // Within the same period nothing is left of the percentage of what it began with.
    assert.equal(limits.next(10, 4, 15), 4);
    assert.equal(limits.next(15, 4, 15), 8);
    assert.equal(limits.next(30, 8, 100), 16);
    assert.equal(limits.next(45, 16, 100), 20, 'maxReplicas');
    assert.equal(limits.next(60, 20, 1), 20);
    assert.equal(limits.next(340, 20, 1), 20);
    assert.equal(limits.next(346, 20, 1), 18);
    assert.equal(limits.next(361, 18, 1), 18);
    assert.equal(limits.next(420, 18, 1), 16);
  });
});

describe('a scraped rate', () => {
  const samples = (...values: readonly (readonly [number, number])[]) => values.map(([at, value]) => ({ at, value }));

  it('is that of a steady counter', () =>
    near(rate(samples([1, 1010], [6, 1060], [11, 1110], [16, 1160]), 20, 20) ?? 0, 10, 1e-9));

  it('needs two samples in the window', () => {
    assert.equal(rate(samples([1, 5], [30, 10]), 31, 20), undefined);
    assert.equal(rate([], 31, 20), undefined);
  });

  it('reaches no further than half a gap, and not below zero', () => {
    // 50 in 5 s, half a gap to the window's end; to its beginning only until the counter would have been zero.
    near(rate(samples([10, 10], [15, 60]), 20.6, 20) ?? 0, (50 * ((5 + 1 + 2.5) / 5)) / 20, 1e-9);
  });
});

describe('a simulated cluster', () => {
  const deployed: Deployed = { queueWaitSeconds: 0.25, readinessSeconds: 2, rules: RULES };
  const run = (load: (now: number) => number, rules: Partial<ScalingRules> = {}, retries = 0) =>
    simulate({
      model: MODEL,
      meanTokens: 40,
      deployed: { ...deployed, rules: { ...RULES, ...rules } },
      podStartSeconds: 20,
      load,
      seconds: 300,
      retries,
      patienceSeconds: 0.8,
      seed: 1,
    });

  it('leaves a load alone that it carries', () => {
    const { requests, refused, late, timeline } = run(() => 400);
    near(requests, 400 * 300, 0.02);
    assert.deepEqual({ refused, late }, { refused: 0, late: 0 });
    assert.ok(timeline.every(({ wanted }) => wanted === 2));
  });

  const spike = (now: number) => (now < 60 ? 400 : 4000);

  it('refuses until replicas are there, and no more then', () => {
    const { timeline, refused, requests } = run(spike);
    assert.ok(refused > 0.05 * requests);
    assert.equal(timeline.at(-1)?.refused, 0);
    for (const { at, ready, wanted, offered, answered, refused: no } of timeline) {
      assert.ok(ready <= wanted, `${at}`);
      near(answered + no, offered, 0.001);
    }
    // Nothing that was decided in the spike is ready sooner than a pod takes to start.
    assert.ok(timeline.filter(({ at }) => at < 60 + 20).every(({ ready }) => ready === 2));
  });

  it('scales to the load at once where it is known, refusals included', () => {
    const metric = {
      kind: 'load',
      tokensPerSecond: 0.6 * 500 * 40,
      waitSeconds: 0.03,
      waitAtMost: 2,
      windowSeconds: 20,
      scrapeSeconds: 5,
    } as const;
    const fast = {
      stabilizationWindowSeconds: 0,
      policies: [{ type: 'Percent', value: 900, periodSeconds: 15 }],
    } as const;
    const known = run(spike, { metric, scaleUp: fast });
    assert.ok(known.refused < 0.6 * run(spike).refused, `${known.refused}`);
    const settled = known.timeline.at(-1)?.wanted ?? 0;
    assert.ok(settled >= 4000 / 300 && settled <= 20, `${settled}`);
  });

  it('answers clients that try again, who make the load larger', () => {
    const { refused, unanswered, requests } = run(spike, {}, 3);
    assert.ok(unanswered < 0.9 * refused);
    assert.ok(refused > run(spike).refused && refused < requests);
  });
});
