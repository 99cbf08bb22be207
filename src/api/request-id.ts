/** Request ids: the client's where it sends a sane one, so that logs of both sides can be joined; else a new one. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** What may go into a log line and a header as it is. */
const SANE = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/;

export function requestId(request: Pick<IncomingMessage, 'headers'>): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && SANE.test(given) ? given : randomUUID();
}
