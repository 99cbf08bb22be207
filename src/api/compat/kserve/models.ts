/** What a model takes and puts out: its metadata, readiness, and configuration as Triton writes it. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { type Static, Type } from 'typebox';

import type { Engine, ServedModel } from '../../../engine/types.ts';
import { Problem } from '../../problems.ts';
import { errorResponses, JSON_TYPE } from '../errors.ts';
import type { CompatOptions } from '../protocols.ts';
import { KserveErrorSchema, kserveError } from './kserve-error.ts';
import { findModel, MODEL_PATHS } from './model-path.ts';
import { offeredOutputs } from './output-tensors.ts';

/** Triton's name of an ONNX model that ONNX Runtime runs. */
const PLATFORM = 'onnxruntime_onnx';
const INPUT = 'text';
const ANY = -1;
/** Triton's names of datatypes in a configuration. */
const CONFIG_TYPES = { BYTES: 'TYPE_STRING', FP32: 'TYPE_FP32' } as const;

const TensorMetadata = Type.Object({
  name: Type.String(),
  datatype: Type.String(),
  shape: Type.Array(Type.Integer(), { description: '-1 for as many as there are texts' }),
});

const Metadata = Type.Object({
  name: Type.String(),
  versions: Type.Array(Type.String()),
  platform: Type.String(),
  inputs: Type.Array(TensorMetadata),
  outputs: Type.Array(TensorMetadata),
});

const ConfigTensor = Type.Object({ name: Type.String(), data_type: Type.String(), dims: Type.Array(Type.Integer()) });

const Configuration = Type.Object({
  name: Type.String(),
  platform: Type.String(),
  backend: Type.String(),
  max_batch_size: Type.Integer({ description: '0: the first dimension is not a batch to Triton’s clients' }),
  input: Type.Array(ConfigTensor),
  output: Type.Array(ConfigTensor),
  parameters: Type.Record(Type.String(), Type.Object({ string_value: Type.String() }), {
    description: 'What each column of an output means, as a JSON list',
  }),
});

const Ready = Type.Object({ name: Type.String(), ready: Type.Boolean() });

/** One GET below a model's path. */
interface Question {
  readonly path: string;
  readonly operation: string;
  readonly summary: string;
  readonly schema: typeof Metadata | typeof Configuration | typeof Ready;
  answer(engine: Engine, model: ServedModel): Static<typeof Metadata | typeof Configuration | typeof Ready>;
}

const QUESTIONS: readonly Question[] = [
  { path: '', operation: 'kserveModel', summary: 'Inputs and outputs of a model', schema: Metadata, answer: metadata },
  {
    path: '/config',
    operation: 'kserveModelConfig',
    summary: 'A model’s configuration as Triton writes it',
    schema: Configuration,
    answer: (_engine, model) => configuration(model),
  },
  {
    path: '/ready',
    operation: 'kserveModelReady',
    summary: 'Whether a model answers',
    schema: Ready,
    answer(engine, { name }) {
      if (!engine.ready()) throw new Problem('not_ready');
      return { name, ready: true };
    },
  },
];

export const kserveModelRoutes: FastifyPluginAsyncTypebox<CompatOptions> = async (app, { engine }) => {
  for (const base of MODEL_PATHS) {
    for (const { path, operation, summary, schema, answer } of QUESTIONS) {
      app.get(
        `${base.path}${path}`,
        {
          schema: {
            operationId: `${operation}${base.suffix}`,
            tags: ['KServe'],
            summary,
            params: base.params,
            response: {
              200: { description: summary, content: { [JSON_TYPE]: { schema } } },
              ...errorResponses(kserveError, KserveErrorSchema, ['unknown_model', 'not_ready']),
            },
          },
        },
        async (request) => answer(engine, findModel(engine, request.params)),
      );
    }
  }
};

function metadata(engine: Engine, model: ServedModel): Static<typeof Metadata> {
  return {
    name: model.name,
    versions: engine
      .models()
      .filter(({ name }) => name === model.name)
      .map(({ version }) => version),
    platform: PLATFORM,
    inputs: [{ name: INPUT, datatype: 'BYTES', shape: [ANY] }],
    outputs: offeredOutputs(model).map(({ name, kind, columns }) => ({
      name,
      datatype: kind.datatype,
      shape: columns === undefined ? [ANY] : [ANY, columns.length],
    })),
  };
}

function configuration(model: ServedModel): Static<typeof Configuration> {
  const outputs = offeredOutputs(model);
  return {
    name: model.name,
    platform: PLATFORM,
    backend: 'onnxruntime',
    max_batch_size: 0,
    input: [{ name: INPUT, data_type: CONFIG_TYPES.BYTES, dims: [ANY] }],
    output: outputs.map(({ name, kind, columns }) => ({
      name,
      data_type: CONFIG_TYPES[kind.datatype],
      dims: columns === undefined ? [ANY] : [ANY, columns.length],
    })),
    parameters: Object.fromEntries(
      outputs.flatMap(({ name, columns }) =>
        columns === undefined ? [] : [[`${name}_columns`, { string_value: JSON.stringify(columns) }]],
      ),
    ),
  };
}
