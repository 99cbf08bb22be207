/** Tells a path that does not exist from a method that a path does not take. */
import type { FastifyInstance } from 'fastify';

import { Problem } from './problems.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route answers what no other route below its path does, but not wrong methods of their paths. */
    catchAll?: true;
  }
}

/** Must be called before routes are registered: it learns of them as they are. */
export function answerUnknownRoutes(app: FastifyInstance): void {
  /** Segments of a path, undefined for a parameter -> the methods that it takes. */
  const paths: { readonly segments: readonly (string | undefined)[]; readonly methods: readonly string[] }[] = [];
  app.addHook('onRoute', ({ url, method, config }) => {
    if (config?.catchAll) return;
    paths.push({ segments: url.split('/').map(literal), methods: [method].flat() });
  });
  // What a route finds not to be there: Fastify's own answer repeats the address.
  app.setNotFoundHandler(() => {
    throw new Problem('not_found');
  });
  // Before the body is read: a body of the wrong type sent to no path at all is a wrong path first.
  app.addHook('onRequest', async (request) => {
    if (!request.is404 && !request.routeOptions.config.catchAll) return;
    const asked = (request.url.split('?', 1)[0] as string).split('/');
    const matching = paths.filter(
      ({ segments }) =>
        segments.length === asked.length &&
        segments.every((segment, index) => (segment === undefined ? asked[index] !== '' : segment === asked[index])),
    );
    if (matching.length > 0) {
      const allow = [...new Set(matching.flatMap(({ methods }) => methods))].sort().join(', ');
      throw new Problem('method_not_allowed', { headers: { allow } });
    }
    if (request.is404) throw new Problem('not_found');
  });
}

/** @returns undefined for a parameter */
function literal(segment: string): string | undefined {
  if (/^:[^:]/.test(segment)) return undefined;
  // A colon of the path is doubled in its pattern.
  return segment.replaceAll('::', ':');
}
