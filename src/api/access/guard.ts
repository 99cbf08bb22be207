/**
 * Who may use which route. A route that says nothing needs the scope `classify`, so that one that is forgotten is closed.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';

import { AccessProblem } from './access-problem.ts';
import type { ApiKey, Scope } from './api-key.ts';
import type { KeyRing } from './key-ring.ts';

/** Of a route; `open` ones are for everybody always. */
export type RouteScope = Scope | 'open';

declare module 'fastify' {
  interface FastifyContextConfig {
    scope?: RouteScope;
    /** Keys are also taken from where clients of Google's APIs put them. */
    googleKeys?: true;
  }
  interface FastifyRequest {
    /** The valid key that was sent. */
    apiKey: ApiKey | undefined;
  }
}

export function scopeOf(config: { readonly scope?: RouteScope } | undefined): RouteScope {
  return config?.scope ?? 'classify';
}

/** Gives the scope to every route that `app` registers from now on and that has none of its own. */
export function scopeRoutes(app: FastifyInstance, scope: RouteScope): void {
  app.addHook('onRoute', (route) => {
    route.config = { scope, ...route.config };
  });
}

/** Routes of `app` take keys as Google's clients send them too. */
export function acceptGoogleKeys(app: FastifyInstance): void {
  app.addHook('onRoute', (route) => {
    route.config = { ...route.config, googleKeys: true };
  });
}

/** Must be called after the hook that finds unknown paths is there: what is nowhere needs no key. */
export function guardRoutes(app: FastifyInstance, keys: KeyRing): void {
  app.decorateRequest('apiKey');
  app.addHook('onRequest', async (request) => {
    const scope = scopeOf(request.routeOptions.config);
    if (scope === 'open') return;
    const given = givenKey(request);
    request.apiKey = given === undefined ? undefined : keys.find(given);
    if (request.apiKey !== undefined) request.outcome.key = request.apiKey.name;
    if (!keys.required(scope)) return;
    if (request.apiKey === undefined) throw new AccessProblem(given === undefined ? 'missing' : 'unknown', scope);
    if (!request.apiKey.scopes.has(scope)) throw new AccessProblem('scope', scope);
  });
}

/** The first that is there decides: Google's places, `Authorization: Bearer`, `X-API-Key`. */
function givenKey({ headers, query, routeOptions }: FastifyRequest): string | undefined {
  const google = routeOptions.config.googleKeys
    ? ((query as { readonly key?: unknown }).key ?? headers['x-goog-api-key'])
    : undefined;
  const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
  const given = google ?? bearer ?? headers['x-api-key'];
  // Sent twice it is a list, and no key.
  return given === undefined ? undefined : String(given);
}
