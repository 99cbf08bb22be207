/** Kubernetes manifests as kustomize makes them, read into objects. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parse, parseAllDocuments, stringify } from 'yaml';

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

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Folders that manifests refer to. */
const PARTS = ['k8s', 'monitoring/grafana/dashboards'];

/** Brought by test/k8s/requirements.lock; without it, the one on the path. */
const LOCKED = fileURLToPath(new URL('../test/k8s/.venv/bin/kubectl', import.meta.url));

async function kustomize(folder: string): Promise<KubernetesObject[]> {
  const kubectl = existsSync(LOCKED) ? LOCKED : 'kubectl';
  const { stdout } = await promisify(execFile)(kubectl, ['kustomize', folder], { maxBuffer: 2 ** 26 });
  return parseAllDocuments(stdout).map((document) => {
    if (document.errors.length > 0) throw document.errors[0];
    return document.toJS() as KubernetesObject;
  });
}

/**
 * An overlay of k8s/overlays, as if components were added to its own file.
 *
 * @param components of k8s/components, in order
 * @throws Error with what kubectl says when it cannot be rendered
 */
export async function overlay(name: string, components: readonly string[] = []): Promise<KubernetesObject[]> {
  if (components.length === 0) return kustomize(join(ROOT, 'k8s/overlays', name));
  const copy = await mkdtemp(join(tmpdir(), 'dslora-k8s-'));
  try {
    for (const part of PARTS) await cp(join(ROOT, part), join(copy, part), { recursive: true });
    const file = join(copy, 'k8s/overlays', name, 'kustomization.yaml');
    const own = parse(await readFile(file, 'utf8')) as { readonly components?: readonly string[] };
    const added = components.map((component) => `../../components/${component}`);
    await writeFile(file, stringify({ ...own, components: [...(own.components ?? []), ...added] }));
    return await kustomize(join(copy, 'k8s/overlays', name));
  } finally {
    await rm(copy, { recursive: true });
  }
}
