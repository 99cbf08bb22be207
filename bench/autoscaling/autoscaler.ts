/**
 * How the HorizontalPodAutoscaler decides (Kubernetes' documentation, "Algorithm details" and "Configurable scaling behavior"):
 * a metric asks for a number of replicas, the highest of the last while counts for scaling in, policies bound each step.
 * KEDA hands its triggers to the same controller.
 */
import type { Direction, Policy, ScalingRules } from './scaling-rules.ts';

/** Differences smaller than this share are left alone. */
const TOLERANCE = 0.1;

/** Of one pod, as share of its request; undefined while it has no measurement of a time when it was ready. */
export type PodUse = number | undefined;

/** By processor use. What has no measurement yet counts as idle while scaling out and as just right while scaling in. */
export function desiredByUse(current: number, uses: readonly PodUse[], target: number): number {
  const known = uses.filter((use) => use !== undefined);
  if (known.length === 0) return current;
  const ratio = known.reduce((sum, use) => sum + use, 0) / known.length / target;
  const missing = uses.length - known.length;
  if (missing === 0) return near(ratio) ? current : Math.ceil(ratio * known.length);
  const assumed = ratio > 1 ? 0 : target;
  const damped = (known.reduce((sum, use) => sum + use, 0) + missing * assumed) / uses.length / target;
  if (near(damped) || ratio > 1 !== damped > 1) return current;
  const desired = Math.ceil(damped * uses.length);
  return damped > 1 ? Math.max(current, desired) : Math.min(current, desired);
}

/** By a sum that replicas share (AverageValue). */
export function desiredBySum(current: number, sum: number, perReplica: number): number {
  return near(sum / (perReplica * current)) ? current : Math.ceil(sum / perReplica);
}

/** By a value that should be 1 (Value). @param ready replicas that are ready */
export function desiredByValue(current: number, ready: number, value: number): number {
  return near(value) ? current : Math.ceil(value * ready);
}

function near(ratio: number): boolean {
  return Math.abs(ratio - 1) <= TOLERANCE;
}

export interface Limits {
  /** @returns the replicas there shall be from now on */
  next(now: number, current: number, desired: number): number;
}

/** Stabilisation and policies, which need to know what was before. */
export function createLimits({ minReplicas, maxReplicas, scaleUp, scaleDown }: ScalingRules): Limits {
  const wishes: { readonly at: number; readonly desired: number }[] = [];
  const changes: { readonly at: number; readonly by: number }[] = [];

  const within = (now: number, seconds: number) => (entry: { readonly at: number }) => entry.at > now - seconds;
  function stabilized(now: number, current: number, desired: number): number {
    const up = wishes.filter(within(now, scaleUp.stabilizationWindowSeconds)).map((wish) => wish.desired);
    const down = wishes.filter(within(now, scaleDown.stabilizationWindowSeconds)).map((wish) => wish.desired);
    const least = Math.min(desired, ...up);
    const most = Math.max(desired, ...down);
    return current < least ? least : Math.min(current, most);
  }
  /** The furthest that any policy allows. */
  function furthest(now: number, current: number, { policies }: Direction, sign: 1 | -1): number {
    const ends = policies.map((policy) => {
      const moved = changes.filter((c) => Math.sign(c.by) === sign && within(now, policy.periodSeconds)(c));
      const start = current - moved.reduce((sum, { by }) => sum + by, 0);
      return limitOf(policy, start, sign);
    });
    return sign === 1 ? Math.max(...ends) : Math.min(...ends);
  }

  return {
    next(now, current, wanted) {
      const desired = Math.min(maxReplicas, Math.max(minReplicas, wanted));
      const stable = stabilized(now, current, desired);
      wishes.push({ at: now, desired });
      let next = current;
      if (stable > current) next = Math.min(stable, furthest(now, current, scaleUp, 1));
      else if (stable < current) next = Math.max(stable, furthest(now, current, scaleDown, -1));
      next = Math.min(maxReplicas, Math.max(minReplicas, next));
      if (next !== current) changes.push({ at: now, by: next - current });
      return next;
    },
  };
}

function limitOf({ type, value }: Policy, start: number, sign: 1 | -1): number {
  if (type === 'Pods') return start + sign * value;
  return sign === 1 ? Math.ceil(start * (1 + value / 100)) : Math.floor(start * (1 - value / 100));
}
