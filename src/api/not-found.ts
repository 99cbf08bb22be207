/** Tells a path that does not exist from a method that a path does not take. */
import type { FastifyInstance } from 'fastify';

import { Problem } from './problems.ts';

/** Must be called before routes are registered: it learns of them as they are. */
export function answerUnknownRoutes(app: FastifyInstance): void {
  const methods = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method }) => {
    // A colon of the path is doubled in its pattern.
    const path = url.replaceAll('::', ':');
    const known = methods.get(path) ?? new Set();
    for (const name of [method].flat()) known.add(name);
    methods.set(path, known);
  });
  // Before the body is read: a body of the wrong type sent to no path at all is a wrong path first.
  app.addHook('onRequest', async (request) => {
    if (!request.is404) return;
    const known = methods.get(request.url.split('?', 1)[0] as string);
    if (known === undefined) throw new Problem('not_found');
    throw new Problem('method_not_allowed', { headers: { allow: [...known].sort().join(', ') } });
  });
}
