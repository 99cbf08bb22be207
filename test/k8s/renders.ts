/** Every sensible combination of overlays and components, rendered. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';

import { type KubernetesObject, kustomize } from '../../scripts/kustomize.ts';

export interface Render {
  /** `cpu + monitoring + keda` */
  readonly name: string;
  readonly objects: readonly KubernetesObject[];
}

interface Combination {
  readonly overlay: string;
  readonly components: readonly string[];
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Where models come from: the image, or one of these. `kserve` brings the volume with it. */
const SOURCES: readonly (readonly string[])[] = [
  [],
  ['models-volume'],
  ['pinned-models'],
  ['pinned-models', 'pinned-models-https'],
];
const WATCHED: readonly (readonly string[])[] = [[], ['monitoring'], ['monitoring', 'keda']];

const combine = (overlay: string, sources: readonly (readonly string[])[], watched = WATCHED) =>
  sources.flatMap((source) => watched.map((added) => ({ overlay, components: [...source, ...added] })));

const COMBINATIONS: readonly Combination[] = [
  ...combine('cpu', SOURCES),
  // The overlay has models-volume already.
  ...combine('gpu', [[]]),
  // KServe scales by itself.
  ...combine('cpu', [['kserve']], [[], ['monitoring']]),
  ...combine('training/one-node', [[]], [[]]),
  ...combine('training/several-nodes', [[]], [[]]),
];

/** All of them, as if the components were added to the overlay's own file; two at a time. */
export async function renderAll(): Promise<readonly Render[]> {
  const folder = await mkdtemp(join(tmpdir(), 'dslora-k8s-'));
  try {
    for (const part of ['k8s', 'monitoring/grafana/dashboards'])
      await cp(join(ROOT, part), join(folder, part), { recursive: true });
    const renders: Render[] = [];
    for (let i = 0; i < COMBINATIONS.length; i += 2) {
      const pair = COMBINATIONS.slice(i, i + 2).map((combination, j) => render(folder, combination, i + j));
      renders.push(...(await Promise.all(pair)));
    }
    return renders;
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function render(folder: string, { overlay, components }: Combination, number: number): Promise<Render> {
  const own = join(folder, 'k8s/overlays', overlay);
  // As deep as the overlay itself, so that its paths lead where they led.
  const copy = `${own}-${number}`;
  await cp(own, copy, { recursive: true });
  const file = join(copy, 'kustomization.yaml');
  const kustomization = parse(await readFile(file, 'utf8')) as { components?: readonly string[] };
  const added = components.map((component) => `../../components/${component}`);
  const edited = { ...kustomization, components: [...(kustomization.components ?? []), ...added] };
  await writeFile(file, stringify(edited));
  return { name: [overlay, ...components].join(' + '), objects: await kustomize(copy) };
}
