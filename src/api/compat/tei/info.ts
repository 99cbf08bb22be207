/** `GET /info`, `/health` and `/ping`. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { type Static, Type } from 'typebox';

import type { ServedModel } from '../../../engine/types.ts';
import { Problem } from '../../problems.ts';
import { errorResponses, JSON_TYPE } from '../errors.ts';
import type { CompatOptions } from '../protocols.ts';
import { TeiErrorSchema, teiError } from './tei-error.ts';

const Nothing = Type.Null();
const Info = Type.Object({
  model_id: Type.String(),
  model_sha: Type.String({ description: 'First 12 digits of the SHA-256 of the manifest' }),
  model_dtype: Type.String(),
  served_model_name: Type.String(),
  model_type: Type.Object({
    classifier: Type.Object({
      id2label: Type.Record(Type.String(), Type.String()),
      label2id: Type.Record(Type.String(), Type.Integer()),
    }),
  }),
  max_concurrent_requests: Type.Integer({ description: 'Windows that may wait; beyond it requests are refused' }),
  max_input_length: Type.Integer({
    description: 'Tokens that the model reads at once; longer texts take several windows',
  }),
  max_batch_tokens: Type.Integer(),
  max_batch_requests: Type.Integer(),
  max_client_batch_size: Type.Integer({ description: 'Most texts in one request' }),
  auto_truncate: Type.Boolean({ description: 'Always false: no text is cut' }),
  tokenization_workers: Type.Integer(),
  version: Type.String({ description: 'Of this service' }),
  sha: Nothing,
  docker_label: Nothing,
});

function describe(
  { name, version: modelVersion, digest, manifest, graph }: ServedModel,
  { queueWindows, batchTokens, batchWindows, maxTexts }: CompatOptions['config'],
  version: string,
): Static<typeof Info> {
  const { labels, input, graphs } = manifest;
  return {
    model_id: `${name}@${modelVersion}`,
    model_sha: digest,
    model_dtype: graphs.find(({ file }) => file === graph)?.precision ?? 'unknown',
    served_model_name: name,
    model_type: {
      classifier: {
        id2label: Object.fromEntries(labels.map((label, index) => [String(index), label])),
        label2id: Object.fromEntries(labels.map((label, index) => [label, index])),
      },
    },
    max_concurrent_requests: queueWindows,
    max_input_length: input.maxTokens,
    max_batch_tokens: batchTokens,
    max_batch_requests: batchWindows,
    max_client_batch_size: maxTexts,
    auto_truncate: false,
    tokenization_workers: 1,
    version,
    sha: null,
    docker_label: null,
  };
}

/** Of its own, of SageMaker. */
const HEALTH_PATHS = [
  ['/health', 'teiHealth'],
  ['/ping', 'teiPing'],
] as const;

export const infoRoutes: FastifyPluginAsyncTypebox<CompatOptions> = async (app, options) => {
  const { engine, lifecycle, config, version } = options;

  app.get(
    '/info',
    {
      schema: {
        operationId: 'teiInfo',
        tags: ['text-embeddings-inference'],
        summary: 'The model and the limits, as text-embeddings-inference says them',
        response: {
          200: { description: 'Model and limits', content: { [JSON_TYPE]: { schema: Info } } },
          ...errorResponses(teiError, TeiErrorSchema, ['not_ready']),
        },
      },
    },
    async () => {
      const model = engine.defaultModel();
      if (model === undefined) throw new Problem('not_ready');
      return describe(model, config, version);
    },
  );

  for (const [path, operationId] of HEALTH_PATHS) {
    app.get(
      path,
      {
        config: { scope: 'open' },
        schema: {
          operationId,
          tags: ['text-embeddings-inference'],
          summary: 'Whether the process should get requests',
          response: {
            // The type says that there is none.
            200: Type.Unsafe<undefined>({ type: 'null', description: 'It should; the body is empty' }),
            ...errorResponses(teiError, TeiErrorSchema, ['not_ready', 'shutting_down']),
          },
        },
      },
      async (_request, reply) => {
        if (lifecycle.draining) throw new Problem('shutting_down');
        if (!engine.ready()) throw new Problem('not_ready');
        return reply.send();
      },
    );
  }
};
