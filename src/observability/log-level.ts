/** Which levels there are, and the signal that changes them at run time. */
import type { FastifyBaseLogger } from 'fastify';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** `debug` where it is something else, and back to what the settings say. */
export function toggleDebug(logger: FastifyBaseLogger, configured: LogLevel): void {
  logger.level = logger.level === 'debug' ? configured : 'debug';
  logger.warn({ logLevel: logger.level }, 'log level changed');
}
