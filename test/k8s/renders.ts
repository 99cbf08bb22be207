/** Every sensible combination of overlays and components, rendered. */
import { type KubernetesObject, overlay } from '../../scripts/kustomize.ts';

export interface Render {
  /** `cpu + monitoring + keda` */
  readonly name: string;
  readonly objects: readonly KubernetesObject[];
}

interface Combination {
  readonly overlay: string;
  readonly components: readonly string[];
}

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
  ...combine('training/files', [[]], [[]]),
];

/** All of them, two at a time. */
export async function renderAll(): Promise<readonly Render[]> {
  const renders: Render[] = [];
  for (let i = 0; i < COMBINATIONS.length; i += 2)
    renders.push(...(await Promise.all(COMBINATIONS.slice(i, i + 2).map(render))));
  return renders;
}

async function render(combination: Combination): Promise<Render> {
  const name = [combination.overlay, ...combination.components].join(' + ');
  return { name, objects: await overlay(combination.overlay, combination.components) };
}
