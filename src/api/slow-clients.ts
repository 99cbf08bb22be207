/** What a client may cost that is slow, on purpose or not: connections, headers, and time for each part of an exchange. */
import type { FastifyInstance } from 'fastify';

import type { Config } from '../config.ts';

type Limits = Pick<Config, 'headersTimeoutMs' | 'requestTimeoutMs' | 'maxHeaderBytes' | 'maxConnections'>;

/** Milliseconds. Node looks only so often at what is overdue, every 30 s if not told otherwise. */
const LONGEST_CHECK_MS = 5_000;

/** Options of Node's server. */
export function serverLimits({ headersTimeoutMs, requestTimeoutMs, maxHeaderBytes }: Omit<Limits, 'maxConnections'>) {
  // Node refuses more time for headers than for the whole.
  const headersTimeout = Math.min(headersTimeoutMs, requestTimeoutMs);
  return {
    headersTimeout,
    requestTimeout: requestTimeoutMs,
    connectionsCheckingInterval: Math.min(LONGEST_CHECK_MS, headersTimeout),
    maxHeaderSize: maxHeaderBytes,
  };
}

/** Bounds the number of connections, and the time in which nothing of an answer is taken. */
export function boundSlowClients(app: FastifyInstance, { requestTimeoutMs, maxConnections }: Limits): void {
  app.server.maxConnections = maxConnections;
  app.addHook('onSend', async (_request, reply) => {
    // Once the answer is out, Node gives the connection its time between requests back.
    reply.raw.setTimeout(requestTimeoutMs, () => reply.raw.destroy());
  });
}
