/** The real application on a fake engine, with its log lines at hand. */
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify';

import { type AppDependencies, buildApp } from '../../src/app.ts';
import { type Config, loadConfig } from '../../src/config.ts';
import { createLifecycle } from '../../src/lifecycle.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { createMetrics } from '../../src/observability/metrics.ts';
import { createFakeEngine } from './fake-engine.ts';

export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/**
 * Injected answers without a body (304, HEAD) leave the timer of their connection running, where a real connection is done
 * with it: it would keep the process of the tests for REQUEST_TIMEOUT_MS.
 */
function endTimers(app: Pick<FastifyInstance, 'inject'>): void {
  const inject = app.inject.bind(app) as (asked: string | InjectOptions) => Promise<LightMyRequestResponse>;
  const ending = async (asked: string | InjectOptions) => {
    const answer = await inject(asked);
    clearTimeout((answer.raw.res as { timeoutHandle?: NodeJS.Timeout }).timeoutHandle);
    return answer;
  };
  app.inject = ending as typeof app.inject;
}

export async function buildTestApp(settings: Partial<Config> = {}, dependencies: Partial<AppDependencies> = {}) {
  const raw: string[] = [];
  const engine = createFakeEngine();
  const lifecycle = createLifecycle();
  const metrics = dependencies.metrics ?? createMetrics({ process: false });
  metrics.watch(engine);
  const logger = createLogger('debug', { write: (line) => void raw.push(line) });
  const config = { ...loadConfig({}), ...settings };
  const app = await buildApp({ engine, lifecycle, logger, metrics, config, version: '0.0.0', ...dependencies });
  endTimers(app);
  return {
    app,
    engine,
    lifecycle,
    metrics,
    log: {
      text: () => raw.join(''),
      /** The lines of finished requests. */
      requests: () => raw.map((line) => JSON.parse(line) as LogLine).filter(({ msg }) => msg === 'request'),
    },
    classify: (body: unknown, headers: Record<string, string> = {}) =>
      app.inject({
        method: 'POST',
        url: '/classify',
        headers: { 'content-type': 'application/json', ...headers },
        payload: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body),
      }),
  };
}
