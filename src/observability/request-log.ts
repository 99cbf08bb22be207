/** One log line and one measurement a request, when it is over. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

import type { Metrics } from './metrics.ts';

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
}

declare module 'fastify' {
  interface FastifyRequest {
    outcome: RequestOutcome;
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

/** nginx's status for a client that did not wait. */
const CLIENT_CLOSED_REQUEST = 499;

export function logRequests(app: FastifyInstance, metrics: Metrics): void {
  app.decorateRequest('outcome');
  app.addHook('onRequest', async (request, reply) => {
    request.outcome = {};
    // There is no response to hook on when the connection closes before one.
    reply.raw.once('close', () => {
      if (!reply.raw.writableEnded) recordRequest(metrics, request, reply, CLIENT_CLOSED_REQUEST);
    });
  });
  app.addHook('onResponse', async (request, reply) => recordRequest(metrics, request, reply, reply.statusCode));
}

/** The same for a request of which no hook is told. Called when it is over. */
export function recordRequest(metrics: Metrics, request: FastifyRequest, reply: FastifyReply, status: number): void {
  const { method, outcome } = request;
  // The pattern of the route, not the address: that could hold anything, and without end. A colon is doubled in it.
  const route = request.routeOptions.url?.replaceAll('::', ':') ?? 'unmatched';
  metrics.requested(route, status, reply.elapsedTime / 1000);
  const line = { method, route, status, durationMs: Math.round(reply.elapsedTime * 1000) / 1000, ...outcome };
  request.log[levelOf(route, status)](line, 'request');
}

function levelOf(route: string, status: number): 'debug' | 'info' | 'error' {
  if (status >= 500 && !QUIET_ROUTES.has(route)) return 'error';
  return QUIET_ROUTES.has(route) ? 'debug' : 'info';
}
