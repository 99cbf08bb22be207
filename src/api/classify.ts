/** `POST /classify`: texts in, classes and gates out. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import { EngineError } from '../engine/types.ts';
import type { Explain } from '../moderation/explain.ts';
import { allOrNothing } from '../moderation/moderator.ts';
import type { Moderator } from '../moderation/types.ts';
import type { Metrics } from '../observability/metrics.ts';
import { classifyRequestSchema, DEFAULTS, type TextLimits } from './classify-request.ts';
import { ClassifyResponseSchema, classifyResponse, layerMeans } from './classify-response.ts';
import { abortSignal } from './client-abort.ts';
import { explainAnswers, explainOptions } from './explanation.ts';
import { moderationProblem } from './moderation-problem.ts';
import { refer } from './named-schema.ts';
import { problemResponses } from './problem-responses.ts';
import { Problem } from './problems.ts';
import { TIMEOUT_HEADER, TimeoutHeader, timeoutOf } from './request-timeout.ts';
import { validationProblem } from './validation-problem.ts';

export interface ClassifyOptions {
  readonly moderator: Moderator;
  readonly explainer: Explain;
  readonly metrics: Metrics;
  readonly limits: TextLimits;
}

export const classifyRoutes: FastifyPluginAsyncTypebox<ClassifyOptions> = async (
  app,
  { moderator, explainer, metrics, limits },
) => {
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
            'too_many_to_explain',
            'text_too_long',
            'unknown_option',
            'invalid_option',
            'invalid_header',
            'unknown_model',
            'model_and_policy',
            'unknown_policy',
            'policy_unfit',
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
      const {
        text,
        texts = [text as string],
        model,
        policy,
        onError = DEFAULTS.onError,
        priority,
        explain,
        ...options
      } = request.body;
      request.outcome.texts = texts.length;
      request.takeTexts(texts.length);
      const explaining = explainOptions(explain, limits.explainWords);
      if (explaining !== undefined && texts.length > limits.explainTexts)
        throw new Problem('too_many_to_explain', { detail: `At most ${limits.explainTexts} texts with \`explain\`.` });
      const pointTo = (index: number) => (text === undefined ? `/texts/${index}` : '/text');
      const signal = abortSignal(reply);
      const timeoutMs = timeoutOf(request.headers);
      const needed = onError === 'item' ? 0 : texts.length;
      const asked = { model, policy, texts, signal, priority, timeoutMs, needed };
      const begun = performance.now();
      const moderated = moderator.moderate(asked);
      const answering = onError === 'item' ? moderated : moderated.then(allOrNothing);
      const explained = answering.then(async (found) => {
        if (explaining === undefined) return { found };
        const left = timeoutMs === undefined ? undefined : Math.max(1, begun + timeoutMs - performance.now());
        const patience = { signal, timeoutMs: left };
        return { found, explained: await explainAnswers(explainer, found, texts, explaining, patience) };
      });
      const outcome = await explained.catch((error: unknown) => {
        if (!signal.aborted) throw moderationProblem(error, pointTo);
      });
      // Nobody is left to answer.
      if (outcome === undefined) return reply.hijack();
      const { found } = outcome;
      request.outcome.model = found.model.name;
      const answer = classifyResponse(found, options, pointTo, outcome.explained);
      for (const [index, result] of found.results.entries()) {
        const shown = answer.results[index];
        if (result instanceof EngineError || shown === undefined || 'error' in shown) continue;
        metrics.classified(found.model.name, shown.label, layerMeans(found.model, result));
        metrics.decided(found.policy.name, result.decision);
        for (const { model: read, result: numbers } of result.forms[0]) metrics.scored(read, numbers);
      }
      return answer;
    },
  );
};
