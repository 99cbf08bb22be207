/** `/admin/log-level`: how much is logged, changed without a restart. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import { LOG_LEVELS, type LogLevel } from '../observability/log-level.ts';
import { scopeRoutes } from './access/guard.ts';
import { refer } from './named-schema.ts';
import { problemResponses } from './problem-responses.ts';
import { validationProblem } from './validation-problem.ts';

const closed = { additionalProperties: false };

const LogLevelSchema = Type.Object(
  {
    level: Type.Enum([...LOG_LEVELS], {
      description: 'Least severe lines to log. `debug` has health checks and scrapes',
    }),
  },
  { $id: 'LogLevel', ...closed, examples: [{ level: 'debug' }] },
);

const answer = {
  200: { description: 'What holds now', content: { 'application/json': { schema: refer(LogLevelSchema) } } },
};
const shared = { tags: ['administration'], querystring: Type.Object({}, closed) };

export const logLevelRoutes: FastifyPluginAsyncTypebox = async (app) => {
  scopeRoutes(app, 'admin');
  app.addSchema(LogLevelSchema);
  const current = () => ({ level: app.log.level as LogLevel });

  app.get(
    '/admin/log-level',
    {
      schema: {
        ...shared,
        operationId: 'getLogLevel',
        summary: 'How much is logged',
        response: { ...answer, ...problemResponses('unknown_option') },
      },
      schemaErrorFormatter: validationProblem,
    },
    async () => current(),
  );

  app.put(
    '/admin/log-level',
    {
      schema: {
        ...shared,
        operationId: 'setLogLevel',
        summary: 'Log more, or less, until the process ends',
        description: 'Holds for requests that come from now on. LOG_LEVEL holds again after a restart.',
        body: refer(LogLevelSchema),
        response: {
          ...answer,
          ...problemResponses(
            'invalid_json',
            'invalid_utf8',
            'invalid_body',
            'invalid_type',
            'invalid_option',
            'unknown_option',
            'body_too_large',
            'unsupported_media_type',
          ),
        },
      },
      schemaErrorFormatter: validationProblem,
    },
    async ({ body: { level } }) => {
      app.log.level = level;
      app.log.warn({ logLevel: level }, 'log level changed');
      return current();
    },
  );
};
