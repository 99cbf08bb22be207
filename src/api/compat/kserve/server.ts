/** `GET /v2` and its health. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import { Problem } from '../../problems.ts';
import { errorResponses, JSON_TYPE } from '../errors.ts';
import type { CompatOptions } from '../protocols.ts';
import { KserveErrorSchema, kserveError } from './kserve-error.ts';

/** Triton's names; `model_repository` only where models may be loaded. */
const EXTENSIONS = ['binary_tensor_data', 'classification', 'model_configuration'];

const Server = Type.Object({
  name: Type.String(),
  version: Type.String(),
  extensions: Type.Array(Type.String()),
});

export const kserveServerRoutes: FastifyPluginAsyncTypebox<CompatOptions> = async (app, options) => {
  const { engine, lifecycle, keys, config, version } = options;
  const administered = keys.administered && config.opsPort === undefined;

  app.get(
    '/v2',
    {
      schema: {
        operationId: 'kserveServer',
        tags: ['KServe'],
        summary: 'Name, version and extensions of the server',
        response: {
          200: { description: 'The server', content: { [JSON_TYPE]: { schema: Server } } },
          ...errorResponses(kserveError, KserveErrorSchema, []),
        },
      },
    },
    async () => ({
      name: 'ds-lora-service',
      version,
      extensions: administered ? [...EXTENSIONS, 'model_repository'] : EXTENSIONS,
    }),
  );

  app.get(
    '/v2/health/live',
    {
      config: { scope: 'open' },
      schema: {
        operationId: 'kserveLive',
        tags: ['KServe'],
        summary: 'Whether the process runs',
        response: {
          200: { description: 'It runs', content: { [JSON_TYPE]: { schema: Type.Object({ live: Type.Boolean() }) } } },
          ...errorResponses(kserveError, KserveErrorSchema, []),
        },
      },
    },
    async () => ({ live: true }),
  );

  app.get(
    '/v2/health/ready',
    {
      config: { scope: 'open' },
      schema: {
        operationId: 'kserveReady',
        tags: ['KServe'],
        summary: 'Whether the process should get requests',
        response: {
          200: {
            description: 'It should',
            content: { [JSON_TYPE]: { schema: Type.Object({ ready: Type.Boolean() }) } },
          },
          ...errorResponses(kserveError, KserveErrorSchema, ['not_ready', 'shutting_down']),
        },
      },
    },
    async () => {
      if (lifecycle.draining) throw new Problem('shutting_down');
      if (!engine.ready()) throw new Problem('not_ready');
      return { ready: true };
    },
  );
};
