/**
 * The foreign protocols that the service speaks: one line here, one file beside this one each.
 *
 * A protocol is a Fastify plugin with routes, limits and an error handler in its own shape; nothing of it leaks into the
 * native API. COMPAT names those that are on. Routes that change state are absent unless ADMIN_KEY is set.
 */
import type { FastifyPluginAsync } from 'fastify';

import type { Config } from '../../config.ts';
import type { Engine } from '../../engine/types.ts';
import type { Lifecycle } from '../../lifecycle.ts';
import type { Metrics } from '../../observability/metrics.ts';
import { teiRoutes } from './tei/routes.ts';

/** What a protocol's plugin is given. */
export interface CompatOptions {
  readonly engine: Engine;
  readonly lifecycle: Lifecycle;
  readonly metrics: Metrics;
  readonly config: Config;
  /** Of the service. */
  readonly version: string;
}

export interface Protocol {
  readonly name: Config['compat'][number];
  readonly routes: FastifyPluginAsync<CompatOptions>;
}

export const PROTOCOLS: readonly Protocol[] = [{ name: 'tei', routes: teiRoutes }];
