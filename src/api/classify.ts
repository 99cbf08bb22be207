/** `POST /classify`: texts in, classes and gates out. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import { type Engine, EngineError } from '../engine/types.ts';
import type { Metrics } from '../observability/metrics.ts';
import { classifyRequestSchema, DEFAULTS, type TextLimits } from './classify-request.ts';
import { ClassifyResponseSchema, classifyResponse, layerMeans } from './classify-response.ts';
import { abortSignal } from './client-abort.ts';
import { engineProblem } from './engine-problem.ts';
import { refer } from './named-schema.ts';
import { problemResponses } from './problem-responses.ts';
import { TIMEOUT_HEADER, TimeoutHeader, timeoutOf } from './request-timeout.ts';
import { validationProblem } from './validation-problem.ts';

export interface ClassifyOptions {
  readonly engine: Engine;
  readonly metrics: Metrics;
  readonly limits: TextLimits;
}

export const classifyRoutes: FastifyPluginAsyncTypebox<ClassifyOptions> = async (app, { engine, metrics, limits }) => {
  const requestSchema = classifyRequestSchema(limits);
  app.addSchema(requestSchema);
  app.addSchema(ClassifyResponseSchema);

  app.post(
    '/classify',
    {
      schema: {
        operationId: 'classify',
        tags: ['classification'],
        summary: 'Classify one text or several',
        description:
          'Class probabilities and the gates of every adapted layer. Texts of one request are answered together or not at all, and the first text at fault decides; with `onError: "item"` each stands for itself.',
        querystring: Type.Object({}, { additionalProperties: false }),
        headers: Type.Object({ [TIMEOUT_HEADER]: TimeoutHeader }),
        body: refer(requestSchema),
        response: {
          200: {
            description: 'One result a text, in order',
            content: { 'application/json': { schema: refer(ClassifyResponseSchema) } },
          },
          ...problemResponses(
            'invalid_json',
            'invalid_utf8',
            'invalid_body',
            'missing_text',
            'text_and_texts',
            'invalid_type',
            'no_texts',
            'too_many_texts',
            'text_too_long',
            'unknown_option',
            'invalid_option',
            'invalid_header',
            'unknown_model',
            'body_too_large',
            'unsupported_media_type',
            'empty_after_normalization',
            'invalid_unicode',
            'overloaded',
            'quarantined',
            'deadline_exceeded',
            'inference_failed',
            'shutting_down',
          ),
        },
      },
      schemaErrorFormatter: validationProblem,
    },
    async (request, reply) => {
      const { text, texts = [text as string], model, onError = DEFAULTS.onError, priority, ...options } = request.body;
      request.outcome.texts = texts.length;
      const pointTo = (index: number) => (text === undefined ? `/texts/${index}` : '/text');
      const signal = abortSignal(reply);
      const asked = { model, texts, signal, priority, timeoutMs: timeoutOf(request.headers) };
      const answering = onError === 'item' ? engine.classifyEach(asked) : engine.classify(asked);
      const found = await answering.catch((error: unknown) => {
        if (!signal.aborted) throw engineProblem(error, pointTo);
      });
      // Nobody is left to answer.
      if (found === undefined) return reply.hijack();
      request.outcome.model = found.model.name;
      const answer = classifyResponse(found, options, pointTo);
      for (const [index, result] of found.results.entries()) {
        const shown = answer.results[index];
        if (result instanceof EngineError || shown === undefined || 'error' in shown) continue;
        metrics.classified(found.model.name, shown.label, layerMeans(found.model, result));
      }
      return answer;
    },
  );
};
