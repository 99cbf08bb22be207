/** An engine without models: answers at once from the text itself, and fails as it is told to. */
import type { Manifest } from '../../src/bundle/manifest.ts';
import {
  type Classification,
  type Engine,
  EngineError,
  type EngineErrorCode,
  ModelChangeError,
  type Priority,
  type ServedModel,
  type WindowResult,
} from '../../src/engine/types.ts';

const GATES = [
  { layer: 0, module: 'query' },
  { layer: 0, module: 'value' },
  { layer: 1, module: 'value' },
];
/** A gate of 0.5 is in the middle. */
const EVENLY = Array.from({ length: 101 }, (_, percent) => percent / 100);
const threshold = { precision: 0.7, recall: 0.7 };

function manifest(name: string, overrides: Partial<Manifest> = {}): Manifest {
  return {
    schemaVersion: 1,
    name,
    version: '1.2.3',
    createdAt: '2025-01-31T00:00:00Z',
    license: 'Apache-2.0',
    description: 'For tests',
    base: { id: 'tiny', architecture: 'BertModel', parameters: 1000, license: 'Apache-2.0' },
    method: {
      name: 'ds-lora',
      rank: 4,
      alpha: 8,
      targets: ['query', 'value'],
      gate: { kind: 'mlp', hidden: 16, pooling: 'instance', scale: 1 },
      l1: { kind: 'proximal', lambda: 0.3 },
      sparsity: 0.5,
      ranksKept: [{ layer: 0, module: 'query', rank: 4 }],
    },
    labels: ['NOT', 'OFF'],
    positiveLabels: ['OFF'],
    attributes: { OFF: { perspective: ['TOXICITY'], openai: ['harassment'] } },
    languages: ['en'],
    thresholds: {
      balanced: { value: 0.5, ...threshold },
      'high-precision': { value: 0.9, ...threshold },
      'high-recall': { value: 0.2, ...threshold },
    },
    input: {
      normalization: [],
      maxTokens: 16,
      windowOverlap: 4,
      prefixIds: [1],
      suffixIds: [2],
      padId: 0,
      pooling: 'mean',
    },
    gates: GATES,
    dropped: [{ layer: 1, module: 'query' }],
    distribution: {
      split: 'dev',
      n: 4,
      probabilities: {},
      gates: GATES.map((gate) => ({ ...gate, quantiles: { NOT: EVENLY, OFF: EVENLY } })),
      tokens: { edges: [0, 1], counts: [1] },
      classes: { NOT: 3, OFF: 1 },
      meanGate: { NOT: EVENLY, OFF: EVENLY },
    },
    graphs: [
      {
        file: 'model.onnx',
        sha256: '0'.repeat(64),
        bytes: 1,
        precision: 'int8',
        executionProviders: ['cpu'],
        layout: 'reference',
        batchInvariant: true,
        externalData: [],
        parity: { texts: 200, probabilities: 0, gates: 0, labelFlips: 0, macroF1Change: 0 },
      },
    ],
    files: [],
    calibration: { split: 'dev', temperature: 1, eceBefore: 0, eceAfter: 0 },
    evaluation: [
      { dataset: 'X', split: 'test', precision: 'int8', n: 9, metric: 'macro-f1', value: 0.8, interval95: [0.7, 0.9] },
    ],
    training: { data: [], seed: 0, settings: {}, libraries: {}, commit: null },
    ...overrides,
  };
}

function served(name: string, overrides?: Partial<Manifest>): ServedModel {
  const own = manifest(name, overrides);
  const digest = '0123456789ab';
  return {
    name,
    version: own.version,
    folder: name,
    digest,
    manifest: own,
    graph: 'model.onnx',
    executionProvider: 'cpu',
  };
}

/** With gates in two layers; the default. */
export const GATED = served('gated');
/** Three classes of which two are offensive, and no gates. */
export const PLAIN = served('plain', {
  labels: ['normal', 'offensive', 'hate'],
  positiveLabels: ['offensive', 'hate'],
  attributes: {
    offensive: { perspective: ['INSULT', 'TOXICITY'], openai: ['harassment'] },
    hate: { perspective: ['IDENTITY_ATTACK', 'TOXICITY'], openai: ['hate'] },
  },
  gates: [],
  dropped: [],
});

export interface FakeEngine extends Engine {
  /** What the next calls of `classify` reject with. */
  failure: EngineError | undefined;
  /** Whether calls of `classify` wait until they are aborted. */
  hold: boolean;
  healthy: boolean;
  readonly seen: { readonly model: string | undefined; readonly texts: readonly string[] }[];
  /** What the calls asked for beside model and texts. */
  readonly asked: { readonly timeoutMs: number | undefined; readonly priority: Priority | undefined }[];
  /** Resolves when a held call is aborted. */
  readonly aborted: Promise<void>;
}

export function engineError(code: EngineErrorCode, index?: number): EngineError {
  return new EngineError(code, 'a message that stays inside', index === undefined ? {} : { index });
}

const BROKEN = { folder: 'broken', reason: 'model.onnx has another checksum' };

/**
 * A text with "rude" in it is offensive; a text longer than 40 characters takes two windows. `stable` is an alias of the
 * default model, which cannot be unloaded; the folder `broken` is refused.
 */
export function createFakeEngine(): FakeEngine {
  const folders = [GATED, PLAIN];
  const models = [GATED, PLAIN];
  const aliases = new Map([['stable', GATED]]);
  const aborted = Promise.withResolvers<void>();
  const engine: FakeEngine = {
    failure: undefined,
    hold: false,
    healthy: true,
    seen: [],
    asked: [],
    aborted: aborted.promise,
    models: () => models,
    refused: () => [BROKEN],
    defaultModel: () => GATED,
    ready: () => engine.healthy,
    find: (reference = GATED.name) =>
      aliases.get(reference) ??
      models.find(({ name, version }) => name === reference || `${name}@${version}` === reference),
    aliases: () => aliases,
    repository: () => [
      { ...BROKEN, state: 'unavailable' },
      ...folders.map((model) =>
        models.includes(model)
          ? { ...identity(model), state: 'ready' as const }
          : { ...identity(model), state: 'unavailable' as const, reason: 'unloaded by request' },
      ),
    ],
    reload: async () => ({
      bundles: [
        { ...BROKEN, outcome: 'refused' },
        ...models.map((model) => ({ ...identity(model), outcome: 'unchanged' as const })),
      ],
      seconds: 0.25,
    }),
    async load(folder) {
      if (folder === BROKEN.folder) return { ...BROKEN, outcome: 'refused' };
      const model = folders.find((own) => own.folder === folder);
      if (model === undefined) throw new ModelChangeError('unknown_bundle', 'No folder of that name holds a bundle');
      if (models.includes(model)) return { ...identity(model), outcome: 'unchanged' };
      models.push(model);
      return { ...identity(model), outcome: 'loaded' };
    },
    async unload(reference) {
      const model = engine.find(reference);
      if (model === undefined) throw new ModelChangeError('unknown_model', 'No such model is served');
      if (model === GATED) throw new ModelChangeError('model_needed', 'the alias stable means it');
      models.splice(models.indexOf(model), 1);
      return { ...identity(model), outcome: 'unloaded' };
    },
    admit({ model }) {
      if (engine.find(model) === undefined) throw engineError('unknown_model');
    },
    async classifyEach({ model: reference, texts, signal, timeoutMs, priority }) {
      signal?.addEventListener('abort', () => aborted.resolve());
      engine.seen.push({ model: reference, texts });
      engine.asked.push({ timeoutMs, priority });
      if (engine.failure !== undefined && engine.failure.index === undefined) throw engine.failure;
      if (engine.hold && signal != null) {
        await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      }
      const model = engine.find(reference);
      if (model === undefined) throw engineError('unknown_model');
      const found = answer(model, texts);
      return { ...found, results: found.results.map((one, i) => (engine.failure?.index === i ? engine.failure : one)) };
    },
    async classify(request) {
      const { results, ...rest } = await engine.classifyEach(request);
      const sound = results.flatMap((outcome) => {
        if (outcome instanceof EngineError) throw outcome;
        return [outcome];
      });
      return { ...rest, results: sound };
    },
    close: async () => {},
  };
  return engine;
}

function identity({ folder, name, version }: ServedModel) {
  return { folder, name, version };
}

function answer(model: ServedModel, texts: readonly string[]): Classification {
  return {
    model,
    results: texts.map((text) => {
      const one = windowResult(model, text.includes('rude'));
      const windows = text.length > 40 ? [one, { ...windowResult(model, false), tokens: 3 }] : [one];
      return { ...one, tokens: 7, windows };
    }),
    timing: { queueMs: 0.12345, tokenizeMs: 0.1, inferenceMs: 3.2 },
  };
}

function windowResult({ manifest: { gates, labels } }: ServedModel, rude: boolean): WindowResult {
  const two = rude ? [0.0999999, 0.9000001] : [0.8, 0.2];
  const three = rude ? [0.3, 0.35, 0.35] : [0.9, 0.06, 0.04];
  return {
    tokens: 5,
    probabilities: labels.length === 2 ? two : three,
    gates: gates.length === 0 ? [] : [0.5, 0.7, 0.9],
  };
}
