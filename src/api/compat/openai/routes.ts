/** OpenAI's moderation endpoint: `POST /v1/moderations`. Keys are never logged, and ignored where none is needed. */

import { randomUUID } from 'node:crypto';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';

import { EngineError } from '../../../engine/types.ts';
import { engineProblem } from '../../engine-problem.ts';
import { refer } from '../../named-schema.ts';
import { Problem } from '../../problems.ts';
import { classifyEach } from '../classified.ts';
import { answerErrors, CLASSIFICATION_PROBLEMS, errorResponses, JSON_TYPE } from '../errors.ts';
import type { CompatOptions } from '../protocols.ts';
import { OpenAiErrorSchema, openAiError, openAiValidation } from './error.ts';
import { modelReference, moderationRequestSchema, textsOf } from './request.ts';
import { ModerationResponseSchema, moderationResult } from './response.ts';

export const openaiRoutes: FastifyPluginAsyncTypebox<CompatOptions> = async (app, options) => {
  // Its own path and what lies below, so that wrong methods are answered in its shape as well.
  await app.register(moderationRoutes, { ...options, prefix: '/v1/moderations' });
};

const moderationRoutes: FastifyPluginAsyncTypebox<CompatOptions> = async (app, options) => {
  const { engine, attributes, config } = options;
  const requestSchema = moderationRequestSchema(config);
  for (const schema of [requestSchema, ModerationResponseSchema, OpenAiErrorSchema]) app.addSchema(schema);
  answerErrors(app, openAiError);
  // The hook that finds unknown paths throws before this handler.
  app.setNotFoundHandler(() => {
    throw new Problem('not_found');
  });

  app.post(
    '',
    {
      schema: {
        operationId: 'createModeration',
        tags: ['openai'],
        summary: 'Moderate texts as OpenAI does',
        body: refer(requestSchema),
        response: {
          200: {
            description: 'One result a text, in order; parts of a text have one together',
            content: { [JSON_TYPE]: { schema: refer(ModerationResponseSchema) } },
          },
          ...errorResponses(openAiError, OpenAiErrorSchema, [
            ...CLASSIFICATION_PROBLEMS.filter((code) => code !== 'empty_after_normalization'),
            'unknown_option',
            'invalid_option',
          ]),
        },
      },
      schemaErrorFormatter: openAiValidation,
    },
    async (request, reply) => {
      const { input, model } = request.body;
      const texts = textsOf(input, config.maxTextChars);
      const single = typeof input === 'string' || typeof input[0] !== 'string';
      const pointTo = (index: number) => (single ? '/input' : `/input/${index}`);
      const found = await classifyEach(options, request, reply, {
        model: modelReference(model, engine),
        texts,
        pointTo,
      });
      if (found === undefined) return reply;
      const columns = attributes.of(found.model, 'openai');
      const results = found.results.map((result) => {
        const failed = result instanceof EngineError && result.code !== 'empty_after_normalization';
        if (failed) throw engineProblem(result, pointTo);
        return moderationResult(found.model, columns, result);
      });
      return {
        id: `modr-${randomUUID().replaceAll('-', '')}`,
        model: `${found.model.name}@${found.model.version}`,
        results,
      };
    },
  );
};
