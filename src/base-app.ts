/** What every HTTP application of the service has before its routes: limits, errors, logs, keys. Owns no process state. */
import cors from '@fastify/cors';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import { type FastifyBaseLogger, type FastifyReply, type FastifyRequest, fastify, LogController } from 'fastify';

import { guardRoutes } from './api/access/guard.ts';
import type { KeyRing } from './api/access/key-ring.ts';
import { limitRates } from './api/access/rate-limit.ts';
import { answerClientErrors } from './api/client-error.ts';
import { closeConnections } from './api/close-connections.ts';
import { sendProblem } from './api/error-handler.ts';
import { acceptJsonOnly } from './api/json-body.ts';
import { answerUnknownRoutes } from './api/not-found.ts';
import { ProblemSchema } from './api/problems.ts';
import { requestId } from './api/request-id.ts';
import { HEADERS_OF_ALL } from './api/security-headers.ts';
import { boundSlowClients, serverLimits } from './api/slow-clients.ts';
import type { Config } from './config.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { Metrics } from './observability/metrics.ts';
import { logRequests, recordRequest } from './observability/request-log.ts';
import type { Tracing } from './observability/tracing/types.ts';
import type { TlsFiles } from './tls.ts';

export interface BaseDependencies {
  readonly lifecycle: Lifecycle;
  readonly logger: FastifyBaseLogger;
  readonly metrics: Metrics;
  readonly config: Config;
  readonly keys: KeyRing;
  /** Requests are not traced if absent. */
  readonly tracing?: Tracing | undefined;
  /** Plain HTTP if absent. */
  readonly tls?: TlsFiles | undefined;
}

export async function createBaseApp({ lifecycle, logger, metrics, config, keys, tls, tracing }: BaseDependencies) {
  const limits = serverLimits(config);
  const app = fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    genReqId: requestId,
    bodyLimit: config.bodyLimitBytes,
    requestTimeout: config.requestTimeoutMs,
    keepAliveTimeout: config.keepAliveMs,
    trustProxy: config.trustProxy.length > 0 ? [...config.trustProxy] : false,
    http: limits,
    ...(tls === undefined ? {} : { https: { ...limits, ...tls.options(), handshakeTimeout: config.headersTimeoutMs } }),
    // What is in hand when the listener closes is answered, also on connections that stay open.
    return503OnClosing: false,
    clientErrorHandler: answerClientErrors(logger, metrics),
    // An address that cannot be read: no hook is told of it.
    frameworkErrors(error: Error, request: FastifyRequest, reply: FastifyReply) {
      reply.raw.once('finish', () => recordRequest(metrics, request, reply, reply.statusCode));
      return sendProblem(error, request, identify(request, reply));
    },
    // Answers are built to their schema, which tests check; Fastify's serialiser would drop and convert without a word.
    // Not setSerializerCompiler: a plugin that adds schemas of its own would get Fastify's again.
    schemaController: { compilersFactory: { buildSerializer: () => () => JSON.stringify } },
    // Nothing is converted, dropped or filled in behind the client's back.
    // Schemas are types as well; to hold them to the meta-schema took a third of the time in which routes are made.
    ajv: {
      customOptions: {
        coerceTypes: false,
        removeAdditional: false,
        useDefaults: false,
        allErrors: false,
        validateSchema: false,
      },
    },
  }).withTypeProvider<TypeBoxTypeProvider>();

  app.setErrorHandler(sendProblem);
  app.addSchema(ProblemSchema);
  acceptJsonOnly(app);
  logRequests(app, metrics, tracing);
  app.addHook('onRequest', async (request, reply) => void identify(request, reply));
  app.addHook('onSend', async (_request, reply) => {
    // Asks clients that keep connections open to open the next one elsewhere.
    if (lifecycle.draining) reply.header('connection', 'close');
  });
  closeConnections(app, config.requestTimeoutMs);
  boundSlowClients(app, config);
  tls?.use(app.server);
  if (config.corsOrigins.length > 0) {
    await app.register(cors, {
      origin: config.corsOrigins.includes('*') ? '*' : [...config.corsOrigins],
      methods: ['GET', 'POST'],
      exposedHeaders: ['x-request-id', 'retry-after', 'ratelimit', 'ratelimit-policy', 'www-authenticate'],
      strictPreflight: false,
    });
  }
  answerUnknownRoutes(app);
  guardRoutes(app, keys);
  limitRates(app, config, metrics);
  return app;
}

/** Headers of every answer. */
function identify(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  return reply.header('x-request-id', request.id).headers(HEADERS_OF_ALL);
}
