/** Answers what is not even HTTP: no request exists yet, so the answer is written to the socket by hand. */
import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import type { FastifyBaseLogger } from 'fastify';

import type { Metrics } from '../observability/metrics.ts';
import { recordBroken } from '../observability/request-log.ts';
import { PROBLEM_MEDIA_TYPE, Problem, type ProblemCode, problemDocument } from './problems.ts';
import { statusPhrase } from './status-phrase.ts';

const BY_NODE_CODE: Readonly<Record<string, ProblemCode>> = {
  HPE_HEADER_OVERFLOW: 'headers_too_large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
};

export function answerClientErrors(logger: FastifyBaseLogger, metrics: Metrics) {
  return (error: NodeJS.ErrnoException, socket: Socket): void => {
    if (error.code === 'ECONNRESET' || !socket.writable) {
      socket.destroy();
      return;
    }
    const requestId = randomUUID();
    const document = problemDocument(new Problem(BY_NODE_CODE[error.code ?? ''] ?? 'bad_request'), requestId);
    const body = JSON.stringify(document);
    socket.end(
      `HTTP/1.1 ${document.status} ${statusPhrase(document.status)}\r\n` +
        `Content-Type: ${PROBLEM_MEDIA_TYPE}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
        `X-Request-Id: ${requestId}\r\nConnection: close\r\n\r\n${body}`,
    );
    recordBroken(metrics, logger, { requestId, status: document.status, code: document.code });
  };
}
