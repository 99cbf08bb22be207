/** The answer of `POST /classify`, made from what the engine found. */
import { type Static, Type } from 'typebox';

import { mostProbable } from '../bundle/labels.ts';
import type { Manifest } from '../bundle/manifest.ts';
import { EngineError, type ServedModel, type TextResult, type WindowResult } from '../engine/types.ts';
import { thresholdValue } from '../moderation/decide.ts';
import { type GatePercentiles, gateContext } from '../moderation/gate-context.ts';
import type { Policy } from '../moderation/policy.ts';
import { meanGate, offensiveScore, roundScore } from '../moderation/scores.ts';
import type { ModeratedText, Moderation } from '../moderation/types.ts';
import { type ClassifyRequest, DEFAULTS } from './classify-request.ts';
import { Decision, EvasionSchema, LanguageSchema, PolicyReference, Reason } from './decision.ts';
import { engineProblem } from './engine-problem.ts';
import { type Explained, ExplanationSchema } from './explanation.ts';
import { refer } from './named-schema.ts';
import { ProblemSchema, problemDocument } from './problems.ts';

const closed = { additionalProperties: false };
const Share = Type.Number({ minimum: 0, maximum: 1 });
const Milliseconds = Type.Number({ minimum: 0, description: 'Milliseconds' });

const LayerGates = Type.Unsafe<Record<string, number>>(
  Type.Object(
    { layer: Type.Integer({ minimum: 0 }) },
    { additionalProperties: Share, description: 'The gate of each adapted module of the layer, by its name' },
  ),
);

const Percentile = { minimum: 0, maximum: 100 };
const LayerPercentiles = Type.Unsafe<Record<string, number>>(
  Type.Object(
    { layer: Type.Integer({ minimum: 0 }) },
    { additionalProperties: Type.Number(Percentile), description: 'Of each adapted module of the layer, by its name' },
  ),
);

const Gates = Type.Object(
  {
    mean: Type.Number({ minimum: 0, maximum: 1, description: 'Over all adapted modules' }),
    layers: Type.Optional(Type.Array(LayerGates)),
    percentiles: Type.Optional(
      Type.Object(
        {
          mean: Type.Optional(
            Type.Number({
              ...Percentile,
              description: 'Absent where the bundle does not say how means are distributed',
            }),
          ),
          layers: Type.Array(LayerPercentiles),
        },
        {
          ...closed,
          description:
            'With `gates: "percentiles"`: how many percent of the texts of the development split had a lower gate',
        },
      ),
    ),
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

const ModelReference = Type.Object({ name: Type.String(), version: Type.String() }, closed);

const Result = Type.Object(
  {
    ...scores,
    flagged: Type.Boolean({ description: '`offensive` ≥ `threshold`' }),
    decision: Decision,
    reasons: Type.Array(Reason, { description: 'What was enough for `decision`; empty exactly when it is `allow`' }),
    evasion: EvasionSchema,
    language: Type.Optional(LanguageSchema),
    otherModels: Type.Optional(
      Type.Array(Type.Object({ model: ModelReference, ...scores }, closed), {
        description: 'With a policy of several models: what the further ones said, in its order',
      }),
    ),
    windows: Type.Integer({
      minimum: 1,
      description: 'A text longer than the model reads is classified in overlapping windows; how many it took',
    }),
    explanation: Type.Optional(ExplanationSchema),
    windowResults: Type.Optional(
      Type.Array(Type.Object(scores, closed), { description: 'With `windows: true`: each window in order' }),
    ),
  },
  closed,
);

const FailedItem = Type.Object(
  { error: refer(ProblemSchema) },
  { ...closed, description: 'With `onError: "item"`: why this text has no answer' },
);

export const ClassifyResponseSchema = Type.Object(
  {
    model: ModelReference,
    policy: PolicyReference,
    threshold: Type.Number({ minimum: 0, maximum: 1, description: 'What `flagged` was decided with' }),
    results: Type.Array(Type.Union([Result, FailedItem]), { description: 'One a text, in order' }),
    timing: Type.Object(
      {
        queueMs: Milliseconds,
        tokenizeMs: Milliseconds,
        inferenceMs: Milliseconds,
        explainMs: Type.Optional(
          Type.Number({ minimum: 0, description: 'Milliseconds from the answer to its explanations' }),
        ),
      },
      { ...closed, description: 'Longest wait, and the shares of the work on all batches that held a part of it' },
    ),
  },
  {
    $id: 'ClassifyResponse',
    ...closed,
    examples: [
      {
        model: { name: 'olid-minilm', version: '1.0.0' },
        policy: { name: 'default', version: '1' },
        threshold: 0.43,
        results: [
          {
            label: 'NOT',
            score: 0.97,
            offensive: 0.03,
            flagged: false,
            decision: 'allow',
            reasons: [],
            evasion: { kinds: {}, folded: false },
            language: { detected: 'en', supported: true },
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
/** Of one text. */
export type ClassifyResult = Static<typeof Result>;
/** An answer to a request without `onError: "item"`. */
export type WholeResponse = Omit<ClassifyResponse, 'results'> & { readonly results: readonly ClassifyResult[] };
type FailedResult = Static<typeof FailedItem>;
type Scores = Pick<ClassifyResult, Extract<keyof typeof scores, keyof ClassifyResult>>;
type GateView = NonNullable<ClassifyRequest['gates']>;

/**
 * @param options of the request; what it leaves out takes its default
 * @param pointTo the JSON Pointer of the text with that index
 * @param explained where the request asks for explanations
 */
export function classifyResponse(
  { model, policy, results, timing }: Moderation,
  options: Pick<ClassifyRequest, 'gates' | 'threshold' | 'windows'>,
  pointTo: (index: number) => string,
  explained?: Explained,
): ClassifyResponse {
  const threshold = thresholdValue(options.threshold ?? DEFAULTS.threshold, model);
  const view = options.gates ?? DEFAULTS.gates;
  return {
    model: referenceTo(model),
    policy: referenceTo(policy),
    threshold,
    results: results.map((result, index) => {
      const explanation = explained?.views.get(index);
      if (result instanceof EngineError) return failedItem(result, pointTo);
      const scored = score(model.manifest, result, view);
      return {
        ...scored,
        // Decided on the number that the answer shows, so that a reader can check it.
        flagged: scored.offensive >= threshold,
        ...decisionOf(result),
        ...(result.others.length === 0 ? {} : { otherModels: result.others.map((other) => otherModel(other, view)) }),
        windows: result.windows.length,
        ...(explanation === undefined ? {} : { explanation }),
        ...(options.windows
          ? { windowResults: result.windows.map((window) => score(model.manifest, window, view)) }
          : {}),
      };
    }),
    timing: {
      queueMs: toMicroseconds(timing.queueMs),
      tokenizeMs: toMicroseconds(timing.tokenizeMs),
      inferenceMs: toMicroseconds(timing.inferenceMs),
      ...(explained === undefined ? {} : { explainMs: toMicroseconds(explained.milliseconds) }),
    },
  };
}

function referenceTo({ name, version }: ServedModel | Policy): { name: string; version: string } {
  return { name, version };
}

function decisionOf({ decision, reasons, evasion, language }: ModeratedText) {
  return { decision, reasons: [...reasons], evasion, ...(language === undefined ? {} : { language }) };
}

function otherModel({ model, result }: { readonly model: ServedModel; readonly result: TextResult }, view: GateView) {
  return { model: referenceTo(model), ...score(model.manifest, result, view) };
}

/** The mean gate of each adapted layer of one result, over the layer's modules. */
export function layerMeans({ manifest }: ServedModel, { gates }: WindowResult): [layer: number, mean: number][] {
  return layoutOf(manifest).layers.map(({ layer, modules }) => {
    let sum = 0;
    for (const { column } of modules) sum += at(gates, column);
    return [layer, sum / modules.length];
  });
}

function failedItem(error: EngineError, pointTo: (index: number) => string): FailedResult {
  return { error: problemDocument(engineProblem(error, pointTo)) };
}

/** Where a model's columns go in an answer. */
interface Layout {
  /** Ascending. */
  readonly layers: readonly {
    readonly layer: number;
    readonly modules: readonly { readonly module: string; readonly column: number }[];
  }[];
  readonly rank: (gates: readonly number[]) => GatePercentiles;
}

/** Worked out once a model: an answer is made for every text. */
const layouts = new WeakMap<Manifest, Layout>();

function layoutOf(manifest: Manifest): Layout {
  const known = layouts.get(manifest);
  if (known !== undefined) return known;
  const columns = manifest.gates.map(({ layer, module }, column) => ({ layer, module, column }));
  const layout = {
    layers: [...Map.groupBy(columns, ({ layer }) => layer)]
      .map(([layer, modules]) => ({ layer, modules }))
      .sort((one, other) => one.layer - other.layer),
    rank: gateContext(manifest),
  };
  layouts.set(manifest, layout);
  return layout;
}

/** What an answer says of a text before anything is decided. */
export function score(manifest: Manifest, { probabilities, gates, tokens }: WindowResult, view: GateView): Scores {
  const best = mostProbable(probabilities);
  const scores = {
    label: manifest.labels[best] as string,
    score: roundScore(at(probabilities, best)),
    offensive: offensiveScore(manifest, probabilities),
    probabilities: Object.fromEntries(
      manifest.labels.map((label, column) => [label, roundScore(at(probabilities, column))]),
    ),
  };
  return view === 'none'
    ? { ...scores, tokens }
    : { ...scores, gates: gateView(layoutOf(manifest), gates, view), tokens };
}

function gateView(
  { layers, rank }: Layout,
  gates: readonly number[],
  view: Exclude<GateView, 'none'>,
): Static<typeof Gates> | null {
  const mean = meanGate(gates);
  if (mean === undefined) return null;
  if (view === 'mean') return { mean };
  const values = { mean, layers: byLayer(layers, (column) => roundScore(at(gates, column))) };
  if (view === 'layers') return values;
  const percentiles = rank(gates);
  return {
    ...values,
    percentiles: {
      ...(percentiles.mean === undefined ? {} : { mean: percentiles.mean }),
      layers: byLayer(layers, (column) => at(percentiles.columns, column)),
    },
  };
}

function byLayer(layers: Layout['layers'], value: (column: number) => number): Record<string, number>[] {
  return layers.map(({ layer, modules }) => ({
    layer,
    ...Object.fromEntries(modules.map(({ module, column }) => [module, value(column)])),
  }));
}

/** The engine promises as many values as the manifest names columns. */
function at(values: readonly number[], index: number): number {
  return values[index] as number;
}

function toMicroseconds(milliseconds: number): number {
  return Math.round(milliseconds * 1e3) / 1e3;
}
