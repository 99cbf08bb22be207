/**
 * How many requests and texts a client may send: one key is one client, without a key one address is. Off by default.
 *
 * Headers are those of draft-ietf-httpapi-ratelimit-headers-10. `@fastify/rate-limit` counts requests only, and what texts
 * cost is known after the body is read.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

import type { Config } from '../../config.ts';
import type { Metrics } from '../../observability/metrics.ts';
import { Problem } from '../problems.ts';
import { clientAddress } from './client-address.ts';
import { scopeOf } from './guard.ts';
import { type Buckets, createBuckets } from './token-bucket.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Counts texts to classify towards the client's limit. @throws Problem `rate_limited` */
    takeTexts(texts: number): void;
  }
}

type Limits = Pick<Config, 'rateLimitRequests' | 'rateLimitTexts' | 'rateLimitSeconds'>;
type Unit = 'requests' | 'texts';

/** Must be called after `guardRoutes`: whose request it is must be known. */
export function limitRates(app: FastifyInstance, limits: Limits, metrics: Pick<Metrics, 'rateLimited'>): void {
  const seconds = limits.rateLimitSeconds;
  const buckets = new Map<Unit, Buckets>();
  if (limits.rateLimitRequests > 0) buckets.set('requests', createBuckets(limits.rateLimitRequests, seconds));
  if (limits.rateLimitTexts > 0) buckets.set('texts', createBuckets(limits.rateLimitTexts, seconds));
  app.decorateRequest('takeTexts', () => {});
  if (buckets.size === 0) return;
  const policy = [...buckets].map(([unit, { capacity }]) => `"${unit}";q=${capacity};w=${seconds}`).join(', ');

  function take(unit: Unit, units: number, client: string, reply: FastifyReply): void {
    const wait = buckets.get(unit)?.take(client, units) ?? 0;
    const states = [...buckets].map(([name, bucket]) => {
      const { remaining, fullInSeconds } = bucket.state(client);
      return `"${name}";r=${remaining};t=${fullInSeconds}`;
    });
    reply.header('ratelimit-policy', policy).header('ratelimit', states.join(', '));
    if (wait === 0) return;
    metrics.rateLimited(unit);
    throw new Problem('rate_limited', {
      detail: `At most ${buckets.get(unit)?.capacity} ${unit} in ${seconds} seconds.`,
      headers: { 'retry-after': String(wait) },
    });
  }

  app.addHook('onRequest', async (request, reply) => {
    if (scopeOf(request.routeOptions.config) !== 'classify') return;
    const client = clientOf(request);
    request.takeTexts = (texts) => take('texts', texts, client, reply);
    take('requests', 1, client, reply);
  });
}

function clientOf({ apiKey, ip, socket }: FastifyRequest): string {
  return apiKey === undefined ? `address ${clientAddress(ip, socket.remoteAddress)}` : `key ${apiKey.name}`;
}
