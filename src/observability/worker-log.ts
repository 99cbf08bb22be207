/** Says in the log when a worker process ended without having been told to. */
import type { FastifyBaseLogger } from 'fastify';

import type { EngineObserver } from '../engine/types.ts';

/** @returns an observer that passes everything on and logs deaths */
export function observeWorkers(observer: EngineObserver, logger: FastifyBaseLogger): EngineObserver {
  return {
    ...observer,
    workerExited(event) {
      observer.workerExited(event);
      if (!event.expected) logger.error(event, 'worker process ended');
    },
    quarantined(event) {
      observer.quarantined?.(event);
      logger.error(event, 'a text that ended two worker processes is refused for some minutes');
    },
  };
}
