/** `GET /v1/models`: what is served, as vLLM lists it. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { type Static, Type } from 'typebox';

import type { Engine, ServedModel } from '../../../engine/types.ts';
import { answerErrors, errorResponses, JSON_TYPE } from '../errors.ts';
import type { CompatOptions } from '../protocols.ts';
import { VllmErrorSchema, vllmError } from './vllm-error.ts';

const Card = Type.Object({
  id: Type.String({ description: 'What `model` of a request may say' }),
  object: Type.Enum(['model']),
  created: Type.Integer({ description: 'Seconds since 1970' }),
  owned_by: Type.String(),
  root: Type.String({ description: '`name@version`' }),
  parent: Type.Null(),
  max_model_len: Type.Integer({
    description: 'Tokens that the model reads at once; longer texts take several windows',
  }),
  permission: Type.Array(Type.Object({})),
});

export const vllmModelRoutes: FastifyPluginAsyncTypebox<CompatOptions> = async (app, { engine }) => {
  answerErrors(app, vllmError);
  app.get(
    '/v1/models',
    {
      schema: {
        operationId: 'vllmModels',
        tags: ['vLLM'],
        summary: 'The models that are served, as vLLM lists them',
        response: {
          200: {
            description: 'Every version of every model',
            content: { [JSON_TYPE]: { schema: Type.Object({ object: Type.Enum(['list']), data: Type.Array(Card) }) } },
          },
          ...errorResponses(vllmError, VllmErrorSchema, []),
        },
      },
    },
    async () => ({ object: 'list' as const, data: engine.models().map((model) => card(engine, model)) }),
  );
};

function card(engine: Engine, model: ServedModel): Static<typeof Card> {
  const { name, version, manifest } = model;
  const root = `${name}@${version}`;
  return {
    id: engine.find(name) === model ? name : root,
    object: 'model',
    created: Math.trunc(Date.parse(manifest.createdAt) / 1_000),
    owned_by: 'ds-lora',
    root,
    parent: null,
    max_model_len: manifest.input.maxTokens,
    permission: [],
  };
}
