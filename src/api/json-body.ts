/**
 * Reads a JSON body strictly. Fastify's own parser would replace broken UTF-8 with U+FFFD, and the answer would be
 * about a text that the client never sent.
 */
import type { FastifyError, FastifyInstance, FastifyRequest } from 'fastify';

import { Problem } from './problems.ts';

const UTF8_CHARSET = /;\s*charset\s*=\s*(?!"?utf-?8"?\s*(?:;|$))/i;

/** Makes JSON the only kind of body that the app takes. */
export function acceptJsonOnly(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    try {
      done(null, readJson(request, body as Buffer));
    } catch (error) {
      done(error as FastifyError);
    }
  });
}

/** @throws Problem for what is no JSON in plain UTF-8, whatever the request says it is */
export function readJson(request: FastifyRequest, body: Buffer): unknown {
  const { 'content-type': type = '', 'content-encoding': encoding = 'identity' } = request.headers;
  if (UTF8_CHARSET.test(type)) throw new Problem('unsupported_media_type', { detail: 'The charset must be UTF-8.' });
  if (encoding.toLowerCase() !== 'identity') {
    throw new Problem('unsupported_media_type', { detail: 'A body with Content-Encoding is not read.' });
  }
  return parseJson(body);
}

/** @throws Problem `invalid_utf8` or `invalid_json` */
export function parseJson(body: Buffer): unknown {
  const text = decode(body);
  try {
    return JSON.parse(text);
  } catch {
    // The message of a SyntaxError quotes the body, so nothing of it goes on.
    throw new Problem('invalid_json');
  }
}

function decode(body: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch {
    throw new Problem('invalid_utf8');
  }
}
