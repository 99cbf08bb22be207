/**
 * The process's logger. No text that somebody wrote may reach a log, and errors are the way it would: a parser's
 * message quotes what it could not parse. So of an error only its kind and its place in the code are written.
 */
import { type DestinationStream, type Logger, pino } from 'pino';

export function createLogger(level: string, destination: DestinationStream): Logger {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    // Fastify logs whole requests under `req`, with their address and its query.
    serializers: { err: describeError, error: describeError, req: () => undefined, res: () => undefined },
  };
  return pino(options, destination);
}

function describeError(error: unknown) {
  if (!(error instanceof Error)) return { type: typeof error };
  const { code } = error as NodeJS.ErrnoException;
  return {
    type: error.name,
    ...(code === undefined ? {} : { code }),
    // Its first lines are the message, which may have any number of lines.
    stack: (error.stack ?? '')
      .split('\n')
      .filter((line) => line.startsWith('    at '))
      .join('\n'),
  };
}
