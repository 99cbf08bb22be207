/**
 * Bodies of the binary tensor data extension: a JSON object, then tensors (Triton, docs/protocol/extension_binary_data.md).
 * The content type is not looked at, since Triton does not and its client sends none.
 */
import { promisify } from 'node:util';
import { gunzip, inflate } from 'node:zlib';

import type { FastifyInstance, FastifyRequest } from 'fastify';

import { parseJson } from '../../json-body.ts';
import { Problem } from '../../problems.ts';

/** Length of the JSON in bytes. */
export const JSON_LENGTH_HEADER = 'inference-header-content-length';

declare module 'fastify' {
  interface FastifyRequest {
    /** What follows the JSON; `request.body` is the JSON. */
    binaryTensors?: Buffer;
  }
}

/** A map, since clients choose the key: an object has more names than its own. */
const DECOMPRESS: ReadonlyMap<string, (body: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>> =
  new Map([
    ['gzip', promisify<Buffer, { maxOutputLength: number }, Buffer>(gunzip)],
    ['deflate', promisify<Buffer, { maxOutputLength: number }, Buffer>(inflate)],
  ]);

/** @param limitBytes of a body, and of what a compressed one holds */
export function acceptTensorBodies(app: FastifyInstance, limitBytes: number): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    const plain = await decompress(request.headers['content-encoding'], body, limitBytes);
    const length = jsonLength(request.headers[JSON_LENGTH_HEADER], plain.length);
    request.binaryTensors = plain.subarray(length);
    return length === 0 ? undefined : parseJson(plain.subarray(0, length));
  });
}

async function decompress(encoding = 'identity', body: Buffer, maxOutputLength: number): Promise<Buffer> {
  if (encoding.toLowerCase() === 'identity') return body;
  const run = DECOMPRESS.get(encoding.toLowerCase());
  if (run === undefined) {
    throw new Problem('unsupported_media_type', { detail: '`Content-Encoding` must be gzip, deflate or absent.' });
  }
  return run(body, { maxOutputLength }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ERR_BUFFER_TOO_LARGE') throw new Problem('body_too_large');
    throw new Problem('invalid_body', { detail: 'The body is not compressed as `Content-Encoding` says.' });
  });
}

function jsonLength(header: string | string[] | undefined, bodyLength: number): number {
  if (header === undefined) return bodyLength;
  const length = typeof header === 'string' && /^\d{1,15}$/.test(header) ? Number(header) : Number.NaN;
  if (length <= bodyLength) return length;
  throw new Problem('invalid_body', {
    detail: '`Inference-Header-Content-Length` must be the length in bytes of the JSON at the start of the body.',
  });
}
