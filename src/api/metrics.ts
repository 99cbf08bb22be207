/** `GET /metrics`: what Prometheus scrapes. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import type { Metrics } from '../observability/metrics.ts';
import { scopeRoutes } from './access/guard.ts';
import { problemResponses } from './problem-responses.ts';

export const metricsRoutes: FastifyPluginAsyncTypebox<{ readonly metrics: Metrics }> = async (app, { metrics }) => {
  scopeRoutes(app, 'metrics');
  app.get(
    '/metrics',
    {
      schema: {
        operationId: 'metrics',
        tags: ['operation'],
        summary: 'Metrics in the text format of Prometheus',
        response: {
          200: { description: 'All metrics', content: { 'text/plain': { schema: Type.String() } } },
          ...problemResponses(),
        },
      },
    },
    async (_request, reply) => {
      reply.type(metrics.contentType);
      return metrics.expose();
    },
  );
};
