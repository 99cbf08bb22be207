/** Who may change what the service does. */
import { createHash, timingSafeEqual } from 'node:crypto';

import type { FastifyRequest } from 'fastify';

import { Problem } from './problems.ts';

/** What routes behind the key say of it in the OpenAPI document. */
export const ADMIN_SECURITY = [{ bearer: [] }, { apiKey: [] }];

/** Whether what a client sent is the key. Digests are of equal length whatever was sent, so the time tells nothing. */
export function keyMatcher(key: string): (given: unknown) => boolean {
  const expected = digest(key);
  return (given) => typeof given === 'string' && timingSafeEqual(digest(given), expected);
}

/** An `onRequest` hook: lets through `Authorization: Bearer <key>` or `X-API-Key: <key>`. @throws Problem otherwise */
export function requireKey(key: string): (request: FastifyRequest) => Promise<void> {
  const matches = keyMatcher(key);
  return async ({ headers }) => {
    const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
    const given = bearer ?? headers['x-api-key'];
    if (!matches(given)) throw new Problem('unauthorized');
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
