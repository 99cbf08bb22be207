/**
 * Lets the application close as soon as what is in hand is answered. Node's server waits for every open connection,
 * and once it closes no timeout ends one that is silent or sends its request without end.
 */
import type { FastifyInstance } from 'fastify';

/** @param patienceMs how long a request may still take once the application closes */
export function closeConnections(app: FastifyInstance, patienceMs: number): void {
  let inHand = 0;
  let closing = false;

  function endIfIdle(): void {
    if (closing && inHand === 0) app.server.closeAllConnections();
  }

  app.addHook('onRequest', async (_request, reply) => {
    inHand += 1;
    reply.raw.once('close', () => {
      inHand -= 1;
      endIfIdle();
    });
  });
  app.addHook('preClose', async () => {
    closing = true;
    // The listener closes right after this hook.
    setImmediate(endIfIdle);
    setTimeout(() => app.server.closeAllConnections(), patienceMs).unref();
  });
}
