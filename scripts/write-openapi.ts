/**
 * Writes `openapi/openapi.json` from the routes.
 *
 *     npm run openapi              write it
 *     npm run openapi -- --check   exit 1 when the committed file differs
 */
import { readFile } from 'node:fs/promises';

import { buildApp } from '../src/app.ts';
import { loadConfig } from '../src/config.ts';
import type { Engine } from '../src/engine/types.ts';
import { createLifecycle } from '../src/lifecycle.ts';
import { createLogger } from '../src/observability/logger.ts';
import { createMetrics } from '../src/observability/metrics.ts';
import { keepGenerated } from './generated-file.ts';

/** The document says what routes do with an engine, and no route is called here. */
const engine: Engine = {
  models: () => [],
  refused: () => [],
  defaultModel: () => undefined,
  find: () => undefined,
  aliases: () => new Map(),
  repository: () => [],
  reload: () => Promise.reject(new Error('no model')),
  load: () => Promise.reject(new Error('no model')),
  unload: () => Promise.reject(new Error('no model')),
  ready: () => false,
  admit: () => {},
  classify: () => Promise.reject(new Error('no model')),
  classifyEach: () => Promise.reject(new Error('no model')),
  close: async () => {},
};

const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'));
const app = await buildApp({
  engine,
  lifecycle: createLifecycle(),
  logger: createLogger('silent', { write() {} }),
  metrics: createMetrics({ process: false }),
  // Routes that need a key exist only where one is set.
  config: loadConfig({ ADMIN_KEY: 'for-the-document' }),
  version,
});
await app.ready();
const text = `${JSON.stringify(app.swagger(), null, 2)}\n`;
await keepGenerated(new URL('../openapi/openapi.json', import.meta.url), 'npm run openapi', () => text);
