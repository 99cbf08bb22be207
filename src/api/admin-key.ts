/** Who may change what the service does. */
import { createHash, timingSafeEqual } from 'node:crypto';

import type { FastifyRequest } from 'fastify';

import { Problem } from './problems.ts';

/** An `onRequest` hook: lets through `Authorization: Bearer <key>` or `X-API-Key: <key>`. @throws Problem otherwise */
export function requireKey(key: string): (request: FastifyRequest) => Promise<void> {
  const expected = digest(key);
  return async ({ headers }) => {
    const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
    const given = bearer ?? headers['x-api-key'];
    // Of equal length whatever was sent, so the comparison tells nothing by its time.
    if (typeof given !== 'string' || !timingSafeEqual(digest(given), expected)) throw new Problem('unauthorized');
  };
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
