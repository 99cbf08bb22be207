/** Says in the log what became of each bundle: one line for each that was loaded, refused, unloaded or kept. */
import type { FastifyBaseLogger } from 'fastify';

import type { BundleOutcome, EngineObserver } from '../engine/types.ts';

const LEVELS = {
  loaded: 'info',
  unchanged: 'debug',
  unloaded: 'info',
  kept: 'warn',
  refused: 'warn',
} as const satisfies Record<BundleOutcome['outcome'], string>;

/** @returns an observer that passes everything on and logs what becomes of bundles */
export function observeModels(observer: EngineObserver, logger: FastifyBaseLogger): EngineObserver {
  return {
    ...observer,
    bundle(event) {
      observer.bundle?.(event);
      const { outcome, name, ...rest } = event;
      logger[LEVELS[outcome]]({ ...rest, model: name }, `bundle ${outcome}`);
    },
    unloadable(event) {
      observer.unloadable?.(event);
      const { name, ...rest } = event;
      logger.error({ ...rest, model: name }, 'worker cannot load a served model again');
    },
  };
}
