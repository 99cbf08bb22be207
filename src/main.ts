/** The process: configuration, child processes, then what serves them. `npm start`. */
import './heap.ts';

import { readFile } from 'node:fs/promises';

import { KeysError } from './api/access/key-ring.ts';
import { ConfigError, loadConfig } from './config.ts';
import { openCredentials } from './credentials.ts';
import { CalibrationError } from './engine/calibration-error.ts';
import { createEngine } from './engine/engine.ts';
import { ReferencesError } from './engine/references.ts';
import type { Engine } from './engine/types.ts';
import { giveUp, indent } from './give-up.ts';
import { toggleDebug } from './observability/log-level.ts';
import { createLogger } from './observability/logger.ts';
import { createMetrics } from './observability/metrics.ts';
import { observeModels } from './observability/model-log.ts';
import { createStandardOutput } from './observability/standard-output.ts';
import type { Tracing } from './observability/tracing/types.ts';
import { observeWorkers } from './observability/worker-log.ts';
import { type SizedConfig, sizeConfig } from './sized-config.ts';
import { TlsError } from './tls.ts';

const { config, sizing } = await readConfig();
const output = createStandardOutput();
const logger = createLogger(config.logLevel, output);
if (sizing.warning !== undefined) logger.warn(sizing.warning);
const { workers, threads, batchTokens, from } = sizing;
logger.info({ workers, threads, batchTokens, from }, 'inference processes');
const version = await ownVersion();
const traced = config.tracesEndpoint !== undefined && config.tracesOff === 'false';
const metrics = createMetrics({ drift: config, exemplars: traced, output });
// Before time is spent on models.
const credentials = await openCredentials(config, logger, metrics).catch(wrongCredentials);
const tracing = await loadTracing();

// While models load there is nothing to finish first. As process 1 of a container it must say so itself.
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, leaveWhileLoading);
// Asks for a reload later; unheard, it would end the process.
process.on('SIGHUP', () => {});
process.on('SIGUSR2', () => toggleDebug(logger, config.logLevel));

const { promise: trying, resolve: tellTrying } = Promise.withResolvers<void>();
const starting = startEngine();
// First what the child processes wait for. What answers requests is loaded while they try the models.
await Promise.race([trying, starting]);
const { serve } = await import('./serve.ts');
const { announcement, shutdown } = await serve({ config, credentials, logger, metrics, starting, tracing, version });
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.off(signal, leaveWhileLoading).on(signal, shutdown);
output.write(announcement);

function leaveWhileLoading(): void {
  process.exit(0);
}

async function readConfig(): Promise<SizedConfig> {
  try {
    return await sizeConfig(loadConfig(process.env), process.env);
  } catch (error) {
    if (error instanceof ConfigError) return giveUp(`These settings are wrong:\n${indent(error.problems)}`);
    if (error instanceof CalibrationError)
      return giveUp(`CALIBRATION_FILE is wrong: ${error.message}. Write one with \`npm run calibrate\`, or unset it.`);
    throw error;
  }
}

function wrongCredentials(error: unknown): never {
  if (error instanceof KeysError) return giveUp(`The keys are wrong:\n${indent(error.problems)}`);
  if (error instanceof TlsError) return giveUp(error.message);
  throw error;
}

/** Where traces go nowhere, nothing of their library is loaded. */
async function loadTracing(): Promise<Tracing | undefined> {
  if (!traced) return undefined;
  const { startTracing } = await import('./observability/tracing/tracing.ts');
  return startTracing({ version, logger, exported: metrics.spans });
}

async function startEngine(): Promise<Engine> {
  const logged = observeModels(observeWorkers(metrics.observer, logger), logger);
  const observer = { ...(tracing?.observe(logged) ?? logged), trying: tellTrying };
  const started = await createEngine({ ...config, observer }).catch((error: unknown) => {
    if (error instanceof ReferencesError)
      return giveUp(`These settings name models that cannot be served so:\n${indent(error.problems)}`);
    return giveUp(`MODELS_DIR (${config.modelsDir}) cannot be read: point it to a folder that holds bundles.`);
  });
  if (started.models().length === 0) {
    const reasons = started.refused().map(({ folder, reason }) => `${folder}: ${reason}`);
    const why = reasons.length > 0 ? `Each bundle was refused:\n${indent(reasons)}` : 'It holds no bundle.';
    giveUp(`No model can be served from MODELS_DIR (${config.modelsDir}). ${why}`);
  }
  return started;
}

async function ownVersion(): Promise<string> {
  const text = await readFile(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
