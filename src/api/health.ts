/** `GET /health/live` and `/health/ready`: should this process be restarted, and should it get requests? */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import type { Engine } from '../engine/types.ts';
import type { Lifecycle } from '../lifecycle.ts';
import { scopeRoutes } from './access/guard.ts';
import { problemResponses } from './problem-responses.ts';
import { Problem } from './problems.ts';

export interface HealthOptions {
  readonly engine: Engine;
  readonly lifecycle: Lifecycle;
}

function status(word: string) {
  return Type.Object({ status: Type.String({ examples: [word] }) }, { additionalProperties: false });
}

export const healthRoutes: FastifyPluginAsyncTypebox<HealthOptions> = async (app, { engine, lifecycle }) => {
  scopeRoutes(app, 'open');
  app.get(
    '/health/live',
    {
      schema: {
        operationId: 'live',
        tags: ['operation'],
        summary: 'Whether the process runs',
        response: {
          200: { description: 'It runs', content: { 'application/json': { schema: status('alive') } } },
          ...problemResponses(),
        },
      },
    },
    async () => ({ status: 'alive' }),
  );

  app.get(
    '/health/ready',
    {
      schema: {
        operationId: 'ready',
        tags: ['operation'],
        summary: 'Whether the process should get requests',
        response: {
          200: { description: 'It should', content: { 'application/json': { schema: status('ready') } } },
          ...problemResponses('not_ready', 'shutting_down'),
        },
      },
    },
    async () => {
      if (lifecycle.draining) throw new Problem('shutting_down');
      if (!engine.ready()) throw new Problem('not_ready');
      return { status: 'ready' };
    },
  );
};
