/** `POST …/infer`: one BYTES tensor of texts in, probabilities, label and gates out. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { type Static, Type } from 'typebox';

import { refer } from '../../named-schema.ts';
import { Problem } from '../../problems.ts';
import { type Classified, classify } from '../classified.ts';
import { CLASSIFICATION_PROBLEMS, errorResponses, fieldProblem, JSON_TYPE } from '../errors.ts';
import type { CompatOptions } from '../protocols.ts';
import { JSON_LENGTH_HEADER } from './body.ts';
import { elementPointer, InputTensor, readTexts } from './input-tensor.ts';
import { KserveErrorSchema, kserveError } from './kserve-error.ts';
import { MODEL_PATHS, referenceOf } from './model-path.ts';
import {
  classificationTensor,
  encodeBinary,
  type OfferedOutput,
  offeredOutputs,
  outputTensor,
  type Tensor,
} from './output-tensors.ts';

/** Far more than there are outputs. */
const MOST_OUTPUTS = 16;
/** In a millisecond. */
const MICROSECONDS = 1_000;
const BINARY_TYPE = 'application/octet-stream';

const RequestSchema = Type.Object(
  {
    id: Type.Optional(Type.String({ description: 'Returned as it is' })),
    parameters: Type.Optional(
      Type.Object({
        binary_data_output: Type.Optional(Type.Boolean({ default: false, description: 'Outputs as binary data' })),
        timeout: Type.Optional(
          Type.Integer({ minimum: 0, description: 'Microseconds from now after which nobody waits; 0 for none' }),
        ),
      }),
    ),
    inputs: Type.Array(InputTensor, { minItems: 1, maxItems: 1, description: 'One tensor' }),
    outputs: Type.Optional(
      Type.Array(
        Type.Object({
          name: Type.String({ description: 'Of the model’s outputs, see its metadata' }),
          parameters: Type.Optional(
            Type.Object({
              binary_data: Type.Optional(Type.Boolean({ description: 'Overrides `binary_data_output`' })),
              classification: Type.Optional(
                Type.Integer({
                  minimum: 0,
                  description: 'The so many highest values as `value:index:name`; 0 for none',
                }),
              ),
            }),
          ),
        }),
        { maxItems: MOST_OUTPUTS, description: 'All if absent or empty' },
      ),
    ),
  },
  {
    $id: 'KserveInferRequest',
    examples: [{ inputs: [{ name: 'text', shape: [1], datatype: 'BYTES', data: ['Have a lovely day, everyone.'] }] }],
  },
);

type InferRequest = Static<typeof RequestSchema>;
type RequestedOutput = NonNullable<InferRequest['outputs']>[number];

const ResponseSchema = Type.Object(
  {
    model_name: Type.String(),
    model_version: Type.String(),
    id: Type.Optional(Type.String()),
    outputs: Type.Array(
      Type.Object({
        name: Type.String(),
        datatype: Type.Enum(['FP32', 'BYTES']),
        shape: Type.Array(Type.Integer()),
        parameters: Type.Optional(Type.Object({ binary_data_size: Type.Integer() })),
        data: Type.Optional(Type.Array(Type.Union([Type.Number(), Type.String()]))),
      }),
    ),
  },
  { $id: 'KserveInferResponse' },
);

export const inferRoutes: FastifyPluginAsyncTypebox<CompatOptions> = async (app, options) => {
  app.addSchema(RequestSchema);
  app.addSchema(ResponseSchema);

  for (const { path, suffix, params } of MODEL_PATHS) {
    app.post(
      `${path}/infer`,
      {
        schema: {
          operationId: `kserveInfer${suffix}`,
          tags: ['KServe'],
          summary: 'Classify texts',
          description:
            'With `Inference-Header-Content-Length`, binary tensors follow the JSON. Bodies may be compressed with gzip or deflate.',
          params,
          body: refer(RequestSchema),
          response: {
            200: {
              description: 'The outputs; with binary ones after the JSON, as `application/octet-stream`',
              content: {
                [JSON_TYPE]: { schema: refer(ResponseSchema) },
                [BINARY_TYPE]: { schema: Type.Unsafe<Buffer>({ type: 'string', format: 'binary' }) },
              },
            },
            ...errorResponses(kserveError, KserveErrorSchema, CLASSIFICATION_PROBLEMS),
          },
        },
        schemaErrorFormatter: fieldProblem,
      },
      async (request, reply) => {
        const { id, inputs, outputs, parameters } = request.body;
        const texts = readTexts(
          inputs[0] as Static<typeof InputTensor>,
          request.binaryTensors as Buffer,
          options.config,
        );
        const timeoutMs = parameters?.timeout ? Math.ceil(parameters.timeout / MICROSECONDS) : undefined;
        const asked = { model: referenceOf(request.params), texts, timeoutMs, pointTo: elementPointer };
        // Before anything is run for it.
        const model = options.engine.find(asked.model);
        if (model !== undefined) choose(offeredOutputs(model), outputs);
        const found = await classify(options, request, reply, asked);
        if (found === undefined) return;
        const { json, binary } = encode(found, outputs, parameters?.binary_data_output ?? false, id);
        if (binary.length === 0) return reply.type(JSON_TYPE).send(json);
        reply.header(JSON_LENGTH_HEADER, json.length).type(BINARY_TYPE);
        return reply.send(Buffer.concat([json, ...binary]));
      },
    );
  }
};

/** @throws Problem */
function choose(
  offered: readonly OfferedOutput[],
  requested: readonly RequestedOutput[] | undefined,
): readonly { output: OfferedOutput; parameters: RequestedOutput['parameters'] }[] {
  if (requested === undefined || requested.length === 0) {
    return offered.map((output) => ({ output, parameters: undefined }));
  }
  return requested.map(({ name, parameters }, index) => {
    const output = offered.find((one) => one.name === name);
    const pointer = `/outputs/${index}`;
    if (output === undefined) {
      const names = offered.map((one) => one.name).join(', ');
      throw new Problem('invalid_body', { detail: `The outputs of this model are ${names}.`, pointer });
    }
    if (parameters !== undefined && 'shared_memory_region' in parameters) {
      throw new Problem('invalid_body', { detail: 'Shared memory is not offered.', pointer });
    }
    if (parameters?.classification && output.columns === undefined) {
      throw new Problem('invalid_body', { detail: 'This output has no classes to rank.', pointer });
    }
    return { output, parameters };
  });
}

/** `binary` is empty when no output is to be binary. */
function encode(
  { model, results }: Classified,
  requested: readonly RequestedOutput[] | undefined,
  binaryByDefault: boolean,
  id: string | undefined,
): { json: Buffer; binary: readonly Buffer[] } {
  const binary: Buffer[] = [];
  const outputs = choose(offeredOutputs(model), requested).map(({ output, parameters }) => {
    const tensor: Tensor =
      parameters?.classification && output.columns !== undefined
        ? classificationTensor(output, output.columns, results, parameters.classification)
        : outputTensor(output, results);
    if (!(parameters?.binary_data ?? binaryByDefault)) return tensor;
    const bytes = encodeBinary(tensor);
    binary.push(bytes);
    const { name, datatype, shape } = tensor;
    return { name, datatype, shape, parameters: { binary_data_size: bytes.length } };
  });
  const body: Static<typeof ResponseSchema> = {
    model_name: model.name,
    model_version: model.version,
    ...(id === undefined ? {} : { id }),
    outputs: outputs as Static<typeof ResponseSchema>['outputs'],
  };
  return { json: Buffer.from(JSON.stringify(body)), binary };
}
