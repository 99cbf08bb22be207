/** One log line and one measurement a request, when it is over. */
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

import type { Metrics } from './metrics.ts';
import { formatTraceParent, parseTraceParent } from './trace-context.ts';
import type { RequestTrace, Tracing } from './tracing/types.ts';

/** What a handler knows about a request that its log line should say. Never a text. */
export interface RequestOutcome {
  /** Name of the model that answered. */
  model?: string;
  /** Number of texts. */
  texts?: number;
  /** Name of the key that was sent. */
  key?: string;
  /** Code of the problem, where the answer is one. */
  code?: string;
  /** Of the trace that the request belongs to: the caller's, or a new one where requests are traced. */
  traceId?: string;
}

declare module 'fastify' {
  interface FastifyRequest {
    outcome: RequestOutcome;
    /** Where the request is traced. */
    trace: RequestTrace | undefined;
  }
}

/** Asked for every few seconds by machines: lines that would drown the rest. */
const QUIET_ROUTES: ReadonlySet<string> = new Set([
  '/health/live',
  '/health/ready',
  '/metrics',
  '/health',
  '/ping',
  '/v2/health/live',
  '/v2/health/ready',
]);

/** In the place of a route where there is none. */
const UNMATCHED = 'unmatched';

/** nginx's status for a client that did not wait. */
const CLIENT_CLOSED_REQUEST = 499;

export function logRequests(app: FastifyInstance, metrics: Metrics, tracing?: Tracing | undefined): void {
  app.decorateRequest('outcome');
  app.decorateRequest('trace');
  app.addHook('onRequest', async (request, reply) => {
    request.outcome = {};
    if (tracing !== undefined && !QUIET_ROUTES.has(request.routeOptions.url ?? '')) {
      request.trace = tracing.begin(request);
      reply.header('traceresponse', formatTraceParent(request.trace.context));
    }
    const { traceId } = request.trace?.context ?? parseTraceParent(request.headers.traceparent) ?? {};
    if (traceId !== undefined) request.outcome.traceId = traceId;
    // There is no response to hook on when the connection closes before one.
    reply.raw.once('close', () => {
      if (!reply.raw.writableEnded) recordRequest(metrics, request, reply, CLIENT_CLOSED_REQUEST);
    });
  });
  if (tracing !== undefined) {
    // Not earlier: reading a body leaves the context behind.
    app.addHook('preHandler', (request, _reply, done) => {
      if (request.trace === undefined) done();
      else tracing.within(request.trace, done);
    });
  }
  app.addHook('onResponse', async (request, reply) => recordRequest(metrics, request, reply, reply.statusCode));
}

/** The same for a request of which no hook is told. Called when it is over. */
export function recordRequest(metrics: Metrics, request: FastifyRequest, reply: FastifyReply, status: number): void {
  const { method, outcome } = request;
  // The pattern of the route, not the address: that could hold anything, and without end. A colon is doubled in it.
  const route = request.routeOptions.url?.replaceAll('::', ':') ?? UNMATCHED;
  const { sampled, traceId } = request.trace?.context ?? {};
  metrics.requested(route, status, reply.elapsedTime / 1000, sampled ? traceId : undefined);
  request.trace?.end({ route, status, ...outcome });
  const line = { method, route, status, durationMs: Math.round(reply.elapsedTime * 1000) / 1000, ...outcome };
  request.log[levelOf(route, status)](line, 'request');
}

/** What was not even a request. It has no method and no route, and its time is not known. */
export function recordBroken(
  metrics: Metrics,
  logger: FastifyBaseLogger,
  line: { readonly requestId: string; readonly status: number; readonly code: string },
): void {
  metrics.requested(UNMATCHED, line.status, 0);
  logger.info({ ...line, route: UNMATCHED }, 'request');
}

function levelOf(route: string, status: number): 'debug' | 'info' | 'error' {
  if (status >= 500 && !QUIET_ROUTES.has(route)) return 'error';
  return QUIET_ROUTES.has(route) ? 'debug' : 'info';
}
