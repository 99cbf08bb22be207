/** The answer of `POST /classify`, made from what the engine found. */
import { type Static, Type } from 'typebox';

import type { Manifest } from '../bundle/manifest.ts';
import type { Classification, ServedModel, TextResult, WindowResult } from '../engine/types.ts';
import { type ClassifyRequest, DEFAULTS } from './classify-request.ts';

const closed = { additionalProperties: false };
const Share = Type.Number({ minimum: 0, maximum: 1 });
const Milliseconds = Type.Number({ minimum: 0, description: 'Milliseconds' });

const LayerGates = Type.Unsafe<Record<string, number>>(
  Type.Object(
    { layer: Type.Integer({ minimum: 0 }) },
    { additionalProperties: Share, description: 'The gate of each adapted module of the layer, by its name' },
  ),
);

const Gates = Type.Object(
  {
    mean: Type.Number({ minimum: 0, maximum: 1, description: 'Over all adapted modules' }),
    layers: Type.Optional(Type.Array(LayerGates)),
  },
  { ...closed, description: 'How strongly the fine-tuned part stepped in, 0 to 1' },
);

const scores = {
  label: Type.String({ description: 'The most probable class' }),
  score: Type.Number({ minimum: 0, maximum: 1, description: 'The probability of `label`' }),
  offensive: Type.Number({ minimum: 0, maximum: 1, description: 'Sum over the classes that mean offensive' }),
  probabilities: Type.Record(Type.String(), Share, { description: 'By class' }),
  gates: Type.Optional(
    Type.Union([Gates, Type.Null()], { description: 'null for a model without gates; absent with `gates: "none"`' }),
  ),
  tokens: Type.Integer({ minimum: 1, description: 'Each token once, special tokens included' }),
};

export const ClassifyResponseSchema = Type.Object(
  {
    model: Type.Object({ name: Type.String(), version: Type.String() }, closed),
    threshold: Type.Number({ minimum: 0, maximum: 1, description: 'What `flagged` was decided with' }),
    results: Type.Array(
      Type.Object(
        {
          ...scores,
          flagged: Type.Boolean({ description: '`offensive` ≥ `threshold`' }),
          windows: Type.Integer({
            minimum: 1,
            description: 'A text longer than the model reads is classified in overlapping windows; how many it took',
          }),
          windowResults: Type.Optional(
            Type.Array(Type.Object(scores, closed), { description: 'With `windows: true`: each window in order' }),
          ),
        },
        closed,
      ),
      { description: 'One a text, in order' },
    ),
    timing: Type.Object(
      { queueMs: Milliseconds, tokenizeMs: Milliseconds, inferenceMs: Milliseconds },
      { ...closed, description: 'Longest wait, and the shares of the work on all batches that held a part of it' },
    ),
  },
  {
    $id: 'ClassifyResponse',
    ...closed,
    examples: [
      {
        model: { name: 'olid-minilm', version: '1.0.0' },
        threshold: 0.43,
        results: [
          {
            label: 'NOT',
            score: 0.97,
            offensive: 0.03,
            flagged: false,
            probabilities: { NOT: 0.97, OFF: 0.03 },
            gates: { mean: 0.61, layers: [{ layer: 0, query: 0.58, value: 0.64 }] },
            tokens: 9,
            windows: 1,
          },
        ],
        timing: { queueMs: 0.4, tokenizeMs: 0.1, inferenceMs: 3.2 },
      },
    ],
  },
);

export type ClassifyResponse = Static<typeof ClassifyResponseSchema>;
type Scores = Omit<ClassifyResponse['results'][number], 'flagged' | 'windows' | 'windowResults'>;
type GateView = NonNullable<ClassifyRequest['gates']>;

/** @param options of the request; what it leaves out takes its default */
export function classifyResponse(
  { model, results, timing }: Classification,
  options: Pick<ClassifyRequest, 'gates' | 'threshold' | 'windows'>,
): ClassifyResponse {
  const threshold = thresholdValue(model.manifest, options.threshold ?? DEFAULTS.threshold);
  const score = createScorer(model.manifest, options.gates ?? DEFAULTS.gates);
  return {
    model: { name: model.name, version: model.version },
    threshold,
    results: results.map((result) => {
      const scored = score(result);
      return {
        ...scored,
        // Decided on the number that the answer shows, so that a reader can check it.
        flagged: scored.offensive >= threshold,
        windows: result.windows.length,
        ...(options.windows ? { windowResults: result.windows.map(score) } : {}),
      };
    }),
    timing: {
      queueMs: toMicroseconds(timing.queueMs),
      tokenizeMs: toMicroseconds(timing.tokenizeMs),
      inferenceMs: toMicroseconds(timing.inferenceMs),
    },
  };
}

/** The mean gate of each adapted layer of one result, over the layer's modules. */
export function layerMeans(model: ServedModel, result: TextResult): ReadonlyMap<number, number> {
  const columns = Map.groupBy(model.manifest.gates.keys(), (column) => layerOf(model.manifest, column));
  return new Map(
    [...columns].map(([layer, indices]) => [layer, mean(indices.map((index) => at(result.gates, index)))]),
  );
}

function thresholdValue(manifest: Manifest, threshold: NonNullable<ClassifyRequest['threshold']>): number {
  return typeof threshold === 'number' ? threshold : manifest.thresholds[threshold].value;
}

function createScorer(manifest: Manifest, view: GateView): (result: WindowResult) => Scores {
  const { labels, positiveLabels } = manifest;
  return ({ probabilities, gates, tokens }) => {
    const best = probabilities.indexOf(Math.max(...probabilities));
    const offensive = labels.reduce(
      (sum, label, index) => (positiveLabels.includes(label) ? sum + at(probabilities, index) : sum),
      0,
    );
    return {
      label: labels[best] as string,
      score: round(at(probabilities, best)),
      offensive: round(Math.min(offensive, 1)),
      probabilities: Object.fromEntries(labels.map((label, index) => [label, round(at(probabilities, index))])),
      ...(view === 'none' ? {} : { gates: gateView(manifest, gates, view) }),
      tokens,
    };
  };
}

function gateView(manifest: Manifest, gates: readonly number[], view: GateView): Static<typeof Gates> | null {
  if (gates.length === 0) return null;
  const overall = { mean: round(mean(gates)) };
  return view === 'mean' ? overall : { ...overall, layers: byLayer(manifest, gates) };
}

function byLayer(manifest: Manifest, gates: readonly number[]) {
  const layers = new Map<number, { layer: number; [module: string]: number }>();
  for (const [column, { layer, module }] of manifest.gates.entries()) {
    const entry = layers.get(layer) ?? { layer };
    entry[module] = round(at(gates, column));
    layers.set(layer, entry);
  }
  return [...layers.values()].sort((one, other) => one.layer - other.layer);
}

function layerOf(manifest: Manifest, column: number): number {
  return (manifest.gates[column] as Manifest['gates'][number]).layer;
}

/** The engine promises as many values as the manifest names columns. */
function at(values: readonly number[], index: number): number {
  return values[index] as number;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Six decimals: graphs are exact to about 1e-4 to 1e-6, and more digits would only look like knowledge. */
function round(value: number): number {
  return Math.round(value * 1e6) / 1e6;
}

function toMicroseconds(milliseconds: number): number {
  return Math.round(milliseconds * 1e3) / 1e3;
}
