/** The HTTP application: routes, errors, logs and metrics. Owns no process state; what tests build. */
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import { type FastifyBaseLogger, type FastifyReply, type FastifyRequest, fastify, LogController } from 'fastify';
import { adminModelRoutes } from './api/admin-models.ts';
import { classifyRoutes } from './api/classify.ts';
import { answerClientError } from './api/client-error.ts';
import { closeConnections } from './api/close-connections.ts';
import { type Attributes, createAttributes } from './api/compat/attributes.ts';
import type { FeedbackFile } from './api/compat/perspective/feedback-file.ts';
import { PROTOCOLS } from './api/compat/protocols.ts';
import { documentRoutes } from './api/docs.ts';
import { sendProblem } from './api/error-handler.ts';
import { healthRoutes } from './api/health.ts';
import { acceptJsonOnly } from './api/json-body.ts';
import { metricsRoutes } from './api/metrics.ts';
import { modelRoutes } from './api/models.ts';
import { answerUnknownRoutes } from './api/not-found.ts';
import { playgroundRoutes } from './api/playground.ts';
import { policyRoutes } from './api/policies.ts';
import { ProblemSchema } from './api/problems.ts';
import { requestId } from './api/request-id.ts';
import { addSecondForms } from './api/second-form.ts';
import type { Config } from './config.ts';
import type { Engine } from './engine/types.ts';
import type { Lifecycle } from './lifecycle.ts';
import { createExplainer } from './moderation/explain.ts';
import type { DetectLanguage } from './moderation/language.ts';
import { createModerator } from './moderation/moderator.ts';
import { BUILT_IN_POLICIES, type Policies } from './moderation/policies.ts';
import type { Metrics } from './observability/metrics.ts';
import { logRequests, recordRequest } from './observability/request-log.ts';

export interface AppDependencies {
  readonly engine: Engine;
  readonly lifecycle: Lifecycle;
  readonly logger: FastifyBaseLogger;
  readonly metrics: Metrics;
  readonly config: Config;
  /** Only the built-in one if absent. */
  readonly policies?: Policies | undefined;
  /** Languages are not looked at if absent. */
  readonly detectLanguage?: DetectLanguage | undefined;
  /** How labels map onto the words of other services; the bundles' own mappings if absent. */
  readonly attributes?: Attributes;
  /** Suggested scores are not kept if absent. */
  readonly feedback?: FeedbackFile | undefined;
  /** Of the service, as the OpenAPI document says it. */
  readonly version: string;
}

export async function buildApp(dependencies: AppDependencies) {
  const { engine, lifecycle, logger, metrics, config, detectLanguage, version } = dependencies;
  const { policies = BUILT_IN_POLICIES } = dependencies;
  const moderator = createModerator({ engine, policies, detectLanguage });
  const app = fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    genReqId: requestId,
    bodyLimit: config.bodyLimitBytes,
    requestTimeout: config.requestTimeoutMs,
    // What is in hand when the listener closes is answered, also on connections that stay open.
    return503OnClosing: false,
    clientErrorHandler: answerClientError,
    // An address that cannot be read: no hook is told of it.
    frameworkErrors(error, request, reply) {
      reply.raw.once('finish', () => recordRequest(metrics, request, reply, reply.statusCode));
      return sendProblem(error, request, identify(request, reply));
    },
    // Answers are built to their schema, which tests check; Fastify's serialiser would drop and convert without a word.
    // Not setSerializerCompiler: a plugin that adds schemas of its own would get Fastify's again.
    schemaController: { compilersFactory: { buildSerializer: () => () => JSON.stringify } },
    // Nothing is converted, dropped or filled in behind the client's back.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false, allErrors: false } },
  }).withTypeProvider<TypeBoxTypeProvider>();

  app.setErrorHandler(sendProblem);
  app.addSchema(ProblemSchema);
  acceptJsonOnly(app);
  logRequests(app, metrics);
  app.addHook('onRequest', async (request, reply) => void identify(request, reply));
  app.addHook('onSend', async (_request, reply) => {
    // Asks clients that keep connections open to open the next one elsewhere.
    if (lifecycle.draining) reply.header('connection', 'close');
  });
  closeConnections(app, config.requestTimeoutMs);
  answerUnknownRoutes(app);

  const compat = { attributes: createAttributes(), ...dependencies };
  const spoken = PROTOCOLS.filter(({ name }) => config.compat.includes(name));

  await documentRoutes(app, version);
  addSecondForms(
    app,
    spoken.flatMap(({ forms }) => forms?.(compat) ?? []),
  );
  await app.register(classifyRoutes, {
    moderator,
    explainer: createExplainer(engine),
    metrics,
    limits: config,
  });
  await app.register(policyRoutes, { moderator });
  await app.register(modelRoutes, { engine });
  if (config.adminKey !== undefined) await app.register(adminModelRoutes, { engine, policies, key: config.adminKey });
  await app.register(healthRoutes, { engine, lifecycle });
  await app.register(metricsRoutes, { metrics });
  for (const { routes } of spoken) await app.register(routes, compat);
  await app.register(playgroundRoutes);
  return app;
}

/** Headers of every answer. */
function identify(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  return reply.header('x-request-id', request.id).header('x-content-type-options', 'nosniff');
}
