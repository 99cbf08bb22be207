/** Kubernetes manifests as kustomize makes them, read into objects. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';

export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
}

/** Brought by test/k8s/requirements.lock; without it, the one on the path. */
const LOCKED = fileURLToPath(new URL('../test/k8s/.venv/bin/kubectl', import.meta.url));

/** @throws Error with what kubectl says when it cannot be rendered */
export async function kustomize(folder: string): Promise<KubernetesObject[]> {
  const kubectl = existsSync(LOCKED) ? LOCKED : 'kubectl';
  const { stdout } = await promisify(execFile)(kubectl, ['kustomize', folder], { maxBuffer: 2 ** 26 });
  return parseAllDocuments(stdout).map((document) => {
    if (document.errors.length > 0) throw document.errors[0];
    return document.toJS() as KubernetesObject;
  });
}
