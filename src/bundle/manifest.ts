/**
 * The manifest of a bundle: the contract between training and the service (docs/bundle.md).
 *
 * The JSON Schema that training validates against, `manifest.schema.json`, is generated from this
 * file by `npm run schema` and checked for drift by `npm test`.
 */
import { type Static, Type } from 'typebox';

const closed = { additionalProperties: false };
const Sha256 = Type.String({ pattern: '^[0-9a-f]{64}$' });
const Probability = Type.Number({ minimum: 0, maximum: 1 });
/** A plain file name: a bundle is untrusted input and must not reach outside its folder. */
const FileName = Type.String({ pattern: '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$' });
const BundleName = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$' });

export const NORMALIZATION_STEPS = [
  'html-entities',
  'nfkc',
  'invisible',
  'urls',
  'mentions',
  'numbers',
  'lowercase',
  'apostrophes',
  'punctuation',
  'whitespace',
] as const;

const StoredFile = {
  file: FileName,
  sha256: Sha256,
  bytes: Type.Integer({ minimum: 0 }),
};

const Threshold = Type.Object(
  {
    value: Probability,
    precision: Type.Number({ minimum: 0, maximum: 1, description: 'Of `flagged`, measured on the development split' }),
    recall: Type.Number({ minimum: 0, maximum: 1, description: 'Of `flagged`, measured on the development split' }),
  },
  closed,
);

const QuantilesByClass = Type.Record(Type.String(), Type.Array(Type.Number(), { minItems: 101, maxItems: 101 }), {
  description: 'Percentiles 0 to 100, by true class',
});

const Histogram = Type.Object(
  {
    edges: Type.Array(Type.Number(), { minItems: 2, description: 'n + 1 edges, ascending' }),
    counts: Type.Array(Type.Integer({ minimum: 0 }), { minItems: 1, description: 'n counts' }),
  },
  closed,
);

export const ManifestSchema = Type.Object(
  {
    schemaVersion: Type.Literal(1),
    name: BundleName,
    version: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$' }),
    createdAt: Type.String({ pattern: '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}Z$' }),
    license: Type.String({ minLength: 1 }),
    description: Type.String(),
    base: Type.Object(
      {
        id: Type.String({ minLength: 1, description: 'Hub id or name of the base model' }),
        architecture: Type.String({ minLength: 1, description: 'Class name in transformers, e.g. BertModel' }),
        parameters: Type.Integer({ minimum: 1 }),
        license: Type.String({ minLength: 1 }),
      },
      closed,
    ),
    method: Type.Object(
      {
        name: Type.String({ minLength: 1, description: 'As in `dslora`: ds-lora, lora, lora-gate, lora-l1, …' }),
        rank: Type.Optional(Type.Integer({ minimum: 1 })),
        alpha: Type.Optional(Type.Number()),
        targets: Type.Array(Type.String(), {
          description: 'Canonical module names: query, key, value, qkv, output, …',
        }),
        gate: Type.Union([
          Type.Null(),
          Type.Object(
            {
              kind: Type.Union([Type.Literal('linear'), Type.Literal('mlp'), Type.Literal('parameter-free')]),
              hidden: Type.Integer({ minimum: 0 }),
              pooling: Type.Union([Type.Literal('instance'), Type.Literal('token')]),
              scale: Type.Number({
                description: 'Factor on the gate in the forward pass; reported gates are without it',
              }),
            },
            closed,
          ),
        ]),
        l1: Type.Union([
          Type.Null(),
          Type.Object(
            { kind: Type.Union([Type.Literal('loss'), Type.Literal('proximal')]), lambda: Type.Number({ minimum: 0 }) },
            closed,
          ),
        ]),
        sparsity: Type.Union([Type.Null(), Probability], { description: 'Share of exact zeros in A and B' }),
        ranksKept: Type.Array(
          Type.Object(
            { layer: Type.Integer({ minimum: 0 }), module: Type.String(), rank: Type.Integer({ minimum: 0 }) },
            closed,
          ),
        ),
      },
      closed,
    ),
    labels: Type.Array(Type.String({ minLength: 1 }), { minItems: 2, maxItems: 1_000, uniqueItems: true }),
    positiveLabels: Type.Array(Type.String({ minLength: 1 }), { minItems: 1, uniqueItems: true }),
    attributes: Type.Record(
      Type.String(),
      Type.Object(
        {
          perspective: Type.Optional(Type.Array(Type.String())),
          openai: Type.Optional(Type.Array(Type.String())),
        },
        closed,
      ),
      { description: 'Our label -> attribute or category of each foreign protocol' },
    ),
    languages: Type.Array(Type.String({ pattern: '^[a-z]{2,3}(-[A-Za-z0-9]+)*$' }), { minItems: 1 }),
    thresholds: Type.Object({ balanced: Threshold, 'high-precision': Threshold, 'high-recall': Threshold }, closed),
    input: Type.Object(
      {
        normalization: Type.Array(Type.Union(NORMALIZATION_STEPS.map((step) => Type.Literal(step))), {
          uniqueItems: true,
        }),
        maxTokens: Type.Integer({ minimum: 8, maximum: 1_048_576 }),
        windowOverlap: Type.Integer({ minimum: 0 }),
        prefixIds: Type.Array(Type.Integer({ minimum: 0 })),
        suffixIds: Type.Array(Type.Integer({ minimum: 0 })),
        padId: Type.Integer({ minimum: 0 }),
        pooling: Type.Union([Type.Literal('mean'), Type.Literal('last')]),
        prompt: Type.Optional(
          Type.Object(
            {
              template: Type.String({
                pattern: '\\{text\\}',
                description: 'What the model is asked; {text} is the post',
              }),
              words: Type.Record(Type.String(), Type.String({ minLength: 1 }), { description: 'Answer by label' }),
            },
            {
              ...closed,
              description:
                'For readers: its tokens are in prefixIds and suffixIds. Only of a model that was not trained',
            },
          ),
        ),
      },
      closed,
    ),
    gates: Type.Array(
      Type.Object({ layer: Type.Integer({ minimum: 0 }), module: Type.String({ minLength: 1 }) }, closed),
    ),
    dropped: Type.Array(
      Type.Object({ layer: Type.Integer({ minimum: 0 }), module: Type.String({ minLength: 1 }) }, closed),
    ),
    distribution: Type.Object(
      {
        split: Type.String(),
        n: Type.Integer({ minimum: 1 }),
        probabilities: Type.Record(Type.String(), Histogram, { description: 'By label' }),
        gates: Type.Array(
          Type.Object(
            {
              layer: Type.Integer({ minimum: 0 }),
              module: Type.String({ minLength: 1 }),
              quantiles: QuantilesByClass,
            },
            closed,
          ),
        ),
        tokens: Histogram,
        classes: Type.Optional(
          Type.Record(Type.String(), Type.Integer({ minimum: 1 }), { description: 'Number of texts by true class' }),
        ),
        meanGate: Type.Optional(
          Type.Union([QuantilesByClass, Type.Null()], {
            description: 'The mean over the columns of the graph; null for a method without gates',
          }),
        ),
      },
      closed,
    ),
    graphs: Type.Array(
      Type.Object(
        {
          ...StoredFile,
          precision: Type.Union([
            Type.Literal('fp32'),
            Type.Literal('fp16'),
            Type.Literal('int8'),
            Type.Literal('int4'),
          ]),
          executionProviders: Type.Array(Type.Union([Type.Literal('cpu'), Type.Literal('cuda')]), { minItems: 1 }),
          layout: Type.String({ minLength: 1 }),
          nodes: Type.Optional(
            Type.Integer({ minimum: 1, description: 'Of the graph, before onnxruntime fuses more' }),
          ),
          scales: Type.Optional(
            Type.String({ minLength: 1, description: 'int8: how activations become integers (docs/bundle.md)' }),
          ),
          keptFloat32: Type.Optional(
            Type.Array(Type.String({ minLength: 1 }), { description: 'int8: weights that stay float32' }),
          ),
          layoutsTimed: Type.Optional(
            Type.Array(
              Type.Object(
                {
                  layout: Type.String({ minLength: 1 }),
                  nodes: Type.Integer({ minimum: 1 }),
                  milliseconds: Type.Record(Type.String(), Type.Number({ minimum: 0 })),
                },
                closed,
              ),
              {
                description:
                  'What the layout was chosen by: processor time of one run on one thread, by rows x tokens, on the exporting machine',
              },
            ),
          ),
          batchInvariant: Type.Boolean(),
          externalData: Type.Array(Type.Object(StoredFile, closed), { maxItems: 64 }),
          parity: Type.Object(
            {
              texts: Type.Integer({ minimum: 0 }),
              probabilities: Type.Number({ minimum: 0, description: 'Largest absolute difference from PyTorch fp32' }),
              gates: Type.Number({ minimum: 0 }),
              labelFlips: Type.Integer({ minimum: 0 }),
              macroF1Change: Type.Number({ description: 'Development split, against PyTorch fp32' }),
            },
            closed,
          ),
        },
        closed,
      ),
      { minItems: 1, maxItems: 16 },
    ),
    files: Type.Array(Type.Object(StoredFile, closed), {
      maxItems: 64,
      description: 'Every other file but manifest.json',
    }),
    calibration: Type.Object(
      {
        split: Type.String(),
        temperature: Type.Number({ exclusiveMinimum: 0 }),
        eceBefore: Type.Number(),
        eceAfter: Type.Number(),
      },
      closed,
    ),
    evaluation: Type.Array(
      Type.Object(
        {
          dataset: Type.String(),
          split: Type.String(),
          precision: Type.String({ description: 'Of the graph that was measured' }),
          n: Type.Integer({ minimum: 1 }),
          metric: Type.String(),
          value: Type.Number(),
          interval95: Type.Array(Type.Number(), { minItems: 2, maxItems: 2 }),
        },
        closed,
      ),
    ),
    training: Type.Object(
      {
        data: Type.Array(
          Type.Object(
            { name: Type.String(), split: Type.String(), sha256: Sha256, rows: Type.Integer({ minimum: 0 }) },
            closed,
          ),
        ),
        seed: Type.Integer(),
        settings: Type.Record(Type.String(), Type.Unknown()),
        libraries: Type.Record(Type.String(), Type.String()),
        commit: Type.Union([Type.Null(), Type.String()]),
      },
      closed,
    ),
  },
  { ...closed, $id: 'urn:ds-lora:bundle-manifest:1', title: 'DS-LoRA bundle manifest' },
);

export type Manifest = Static<typeof ManifestSchema>;
