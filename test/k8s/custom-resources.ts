/** Objects whose kinds do not come with Kubernetes, against the schemas that npm carries. */
import { ScaledObject } from '@kubernetes-models/keda/keda.sh/v1alpha1';
import { PrometheusRule, ServiceMonitor } from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';

import type { KubernetesObject } from '../../scripts/kustomize.ts';

const MODELS = { ScaledObject, ServiceMonitor, PrometheusRule };
/** Groups that every cluster has. */
const BUILT_IN = /^(v1|(apps|batch|policy|autoscaling)\/.*|[a-z.]+\.k8s\.io\/.*)$/;

export function isBuiltIn({ apiVersion }: KubernetesObject): boolean {
  return BUILT_IN.test(apiVersion);
}

/** @returns undefined where no schema is known */
export function schemaProblems(object: KubernetesObject): readonly string[] | undefined {
  const Model = MODELS[object.kind as keyof typeof MODELS];
  if (Model === undefined) return undefined;
  const watched = watch(object);
  try {
    // The validator is told to look at the object itself: constructing a model would copy, and so read, everything.
    Model.prototype.validate.call(watched.object);
  } catch (error) {
    return [(error as Error).message];
  }
  return watched.unread().map((path) => `unknown field ${path}`);
}

/**
 * Compiled schemas let unknown fields pass, as the API server would drop them. A validator reads each field that it knows, so one
 * that is never read is unknown.
 */
function watch(object: KubernetesObject): { readonly object: object; unread(): string[] } {
  const read = new Set<string>();
  const all: string[] = [];
  const wrap = (value: unknown, path: string): unknown => {
    if (typeof value !== 'object' || value === null) return value;
    const wrapped: Record<string, unknown> = {};
    for (const [key, inner] of Object.entries(value)) {
      const at = `${path}.${key}`;
      all.push(at);
      wrapped[key] = wrap(inner, at);
    }
    return new Proxy(Array.isArray(value) ? Object.values(wrapped) : wrapped, {
      get(target, key, receiver) {
        if (typeof key === 'string') read.add(`${path}.${key}`);
        return Reflect.get(target, key, receiver);
      },
    });
  };
  return {
    object: wrap(object, '') as object,
    unread: () => {
      const unread = all.filter((path) => !read.has(path));
      // Of what lies below a field that nobody read, the field alone is named.
      return unread
        .filter((path) => !unread.some((other) => path.startsWith(`${other}.`)))
        .map((path) => path.slice(1));
    },
  };
}
