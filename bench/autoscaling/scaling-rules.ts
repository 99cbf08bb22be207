/** What the rendered manifests say of scaling, so that a simulation tries what is deployed. */
import { type KubernetesObject, overlay } from '../../scripts/kustomize.ts';

export interface Policy {
  readonly type: 'Percent' | 'Pods';
  readonly value: number;
  readonly periodSeconds: number;
}
export interface Direction {
  readonly stabilizationWindowSeconds: number;
  readonly policies: readonly Policy[];
}
export interface ScalingRules {
  readonly minReplicas: number;
  readonly maxReplicas: number;
  readonly scaleUp: Direction;
  readonly scaleDown: Direction;
  readonly metric: CpuTarget | LoadTarget;
}
interface CpuTarget {
  readonly kind: 'cpu';
  /** Of the requested cores, 0 to 1. */
  readonly utilization: number;
  readonly requestedCores: number;
}
interface LoadTarget {
  readonly kind: 'load';
  /** Tokens a second of one replica. */
  readonly tokensPerSecond: number;
  /** Mean wait at which replicas are missing, and what it multiplies them by at most. */
  readonly waitSeconds: number;
  readonly waitAtMost: number;
  /** How far queries look back. */
  readonly windowSeconds: number;
  readonly scrapeSeconds: number;
}

export interface Deployed {
  readonly queueWaitSeconds: number;
  readonly readinessSeconds: number;
  readonly rules: ScalingRules;
}

interface Behavior {
  readonly scaleUp: Direction;
  readonly scaleDown: Direction;
}
interface Hpa {
  readonly minReplicas: number;
  readonly maxReplicas: number;
  readonly metrics: readonly { readonly resource: { readonly target: { readonly averageUtilization: number } } }[];
  readonly behavior: Behavior;
}
interface Trigger {
  readonly name: string;
  readonly metricType: string;
  readonly metadata: { readonly threshold: string; readonly query: string };
}
interface Scaled {
  readonly minReplicaCount: number;
  readonly maxReplicaCount: number;
  readonly advanced: { readonly horizontalPodAutoscalerConfig: { readonly behavior: Behavior } };
  readonly triggers: readonly Trigger[];
}
interface Workload {
  readonly template: {
    readonly spec: {
      readonly containers: readonly {
        readonly resources: { readonly requests: { readonly cpu: string } };
        readonly readinessProbe: { readonly periodSeconds: number };
      }[];
    };
  };
}

/** @param scaler the base's autoscaler, or that of the component keda */
export async function readDeployed(scaler: 'hpa' | 'keda'): Promise<Deployed> {
  const objects = await overlay('cpu', scaler === 'keda' ? ['monitoring', 'keda'] : []);
  const container = spec<Workload>(objects, 'Deployment').template.spec.containers[0];
  const settings = object(objects, 'ConfigMap', 'dslora-settings') as unknown as { data: Record<string, string> };
  if (container === undefined) throw new Error('the Deployment has no container');
  return {
    queueWaitSeconds: Number(settings.data.QUEUE_WAIT_MS) / 1000,
    readinessSeconds: container.readinessProbe.periodSeconds,
    rules: scaler === 'hpa' ? cpuRules(objects, Number(container.resources.requests.cpu)) : loadRules(objects),
  };
}

function cpuRules(objects: readonly KubernetesObject[], requestedCores: number): ScalingRules {
  const { minReplicas, maxReplicas, behavior, metrics } = spec<Hpa>(objects, 'HorizontalPodAutoscaler');
  const utilization = (metrics[0]?.resource.target.averageUtilization ?? Number.NaN) / 100;
  return { minReplicas, maxReplicas, ...direction(behavior), metric: { kind: 'cpu', utilization, requestedCores } };
}

function loadRules(objects: readonly KubernetesObject[]): ScalingRules {
  const { minReplicaCount, maxReplicaCount, advanced, triggers } = spec<Scaled>(objects, 'ScaledObject');
  const load = trigger(triggers, 'load', 'AverageValue');
  const wait = trigger(triggers, 'queue-wait', 'Value');
  const endpoints = spec<{ endpoints: readonly { interval: string }[] }>(objects, 'ServiceMonitor').endpoints;
  return {
    minReplicas: minReplicaCount,
    maxReplicas: maxReplicaCount,
    ...direction(advanced.horizontalPodAutoscalerConfig.behavior),
    metric: {
      kind: 'load',
      tokensPerSecond: Number(load.metadata.threshold),
      waitSeconds: Number(wait.metadata.threshold) * numberIn(wait, /\/ ([\d.]+), [\d.]+\)/),
      waitAtMost: numberIn(wait, /, ([\d.]+)\)\s*and on/),
      windowSeconds: numberIn(load, /\[(\d+)s\]/),
      scrapeSeconds: Number.parseFloat(endpoints[0]?.interval ?? ''),
    },
  };
}

function direction({ scaleUp, scaleDown }: Behavior) {
  const only = ({ stabilizationWindowSeconds, policies }: Direction) => ({ stabilizationWindowSeconds, policies });
  return { scaleUp: only(scaleUp), scaleDown: only(scaleDown) };
}

function trigger(triggers: readonly Trigger[], name: string, metricType: string): Trigger {
  const found = triggers.find((candidate) => candidate.name === name && candidate.metricType === metricType);
  if (found === undefined) throw new Error(`The ScaledObject has no trigger ${name} of type ${metricType}`);
  return found;
}

function numberIn({ name, metadata }: Trigger, pattern: RegExp): number {
  const found = pattern.exec(metadata.query)?.[1];
  if (found === undefined)
    throw new Error(`The query of ${name} is not of the form that the simulation knows: ${pattern}`);
  return Number(found);
}

function object(objects: readonly KubernetesObject[], kind: string, name = ''): KubernetesObject {
  const found = objects.find((candidate) => candidate.kind === kind && candidate.metadata.name.startsWith(name));
  if (found === undefined) throw new Error(`The manifests have no ${kind}`);
  return found;
}

function spec<T>(objects: readonly KubernetesObject[], kind: string): T {
  return (object(objects, kind) as KubernetesObject & { readonly spec: T }).spec;
}
