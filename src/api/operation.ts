/** What operators use and clients do not: metrics and administration, on the port of OPS_PORT where that is set. */
import type { FastifyInstance } from 'fastify';

import type { Config } from '../config.ts';
import type { Engine } from '../engine/types.ts';
import type { Policies } from '../moderation/policies.ts';
import type { Metrics } from '../observability/metrics.ts';
import type { KeyRing } from './access/key-ring.ts';
import { adminModelRoutes } from './admin-models.ts';
import { kserveChangeRoutes } from './compat/kserve/routes.ts';
import { logLevelRoutes } from './log-level.ts';
import { metricsRoutes } from './metrics.ts';

export interface OperationOptions {
  readonly engine: Engine;
  readonly policies: Policies;
  readonly metrics: Metrics;
  readonly keys: KeyRing;
  readonly config: Config;
}

export async function operationRoutes(
  app: FastifyInstance,
  { engine, policies, metrics, keys, config }: OperationOptions,
): Promise<void> {
  await app.register(metricsRoutes, { metrics });
  if (!keys.administered) return;
  await app.register(adminModelRoutes, { engine, policies });
  await app.register(logLevelRoutes);
  if (config.compat.includes('kserve')) await app.register(kserveChangeRoutes, { engine, config });
}
