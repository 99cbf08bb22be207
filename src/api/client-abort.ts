/** Tells the engine that nobody waits any more. */
import type { FastifyReply } from 'fastify';

/**
 * A signal that aborts when the connection closes before the answer is written.
 * Fastify's `request.signal` also aborts when a request has merely been read to its end.
 */
export function abortSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}
