/** How long a client wants to wait: `X-Request-Timeout-Ms`. */
import type { IncomingHttpHeaders } from 'node:http';

import { Type } from 'typebox';

import { Problem } from './problems.ts';

export const TIMEOUT_HEADER = 'x-request-timeout-ms';

const ACCEPTED = /^[1-9][0-9]{0,6}$/;

/** Part of a route's `schema.headers`. Headers are strings, and nothing is converted on the way. */
export const TimeoutHeader = Type.Optional(
  Type.String({
    pattern: ACCEPTED.source,
    description:
      'Milliseconds from now after which nobody waits for the answer, 1 to 9999999; what is not answered by then is `deadline_exceeded`. Default: ANSWER_TIMEOUT_MS',
    examples: ['800'],
  }),
);

export const TIMEOUT_ACCEPTS = '`X-Request-Timeout-Ms` must be a whole number of milliseconds from 1 to 9999999.';

/** @param headers that fit the schema @returns milliseconds; undefined where the client leaves it to the service */
export function timeoutOf(headers: { readonly [TIMEOUT_HEADER]?: string }): number | undefined {
  const value = headers[TIMEOUT_HEADER];
  return value === undefined ? undefined : Number(value);
}

/** The same for routes whose schema does not hold the header. @throws Problem */
export function readTimeout(headers: IncomingHttpHeaders): number | undefined {
  const value = headers[TIMEOUT_HEADER];
  if (value === undefined) return undefined;
  if (typeof value === 'string' && ACCEPTED.test(value)) return Number(value);
  throw new Problem('invalid_header', { detail: TIMEOUT_ACCEPTS });
}
