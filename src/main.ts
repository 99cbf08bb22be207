/** The process: configuration, engine, listener, signals. `npm start`. */
import './heap.ts';

import { readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';

import { announce } from './announcement.ts';
import { KeysError } from './api/access/key-ring.ts';
import type { Attributes } from './api/compat/attributes.ts';
import { AttributesFileError, loadAttributes } from './api/compat/attributes-file.ts';
import { type FeedbackFile, openFeedbackFile } from './api/compat/perspective/feedback-file.ts';
import { type FolderWatch, watchFiles, watchFolder } from './bundle/watch.ts';
import { ConfigError, loadConfig } from './config.ts';
import { openCredentials } from './credentials.ts';
import { CalibrationError } from './engine/calibration-file.ts';
import { createEngine } from './engine/engine.ts';
import { ReferencesError } from './engine/references.ts';
import type { Engine } from './engine/types.ts';
import { createLifecycle } from './lifecycle.ts';
import type { DetectLanguage } from './moderation/language.ts';
import { createPolicies, type Policies, PolicyError } from './moderation/policies.ts';
import { toggleDebug } from './observability/log-level.ts';
import { createLogger } from './observability/logger.ts';
import { createMetrics } from './observability/metrics.ts';
import { observeModels } from './observability/model-log.ts';
import { createStandardOutput } from './observability/standard-output.ts';
import type { Tracing } from './observability/tracing/types.ts';
import { observeWorkers } from './observability/worker-log.ts';
import { createShutdown } from './shutdown.ts';
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

// Read while the child processes start, which they would otherwise wait for.
const starting = startEngine();
const [{ buildApp, buildOpsApp }, detectLanguage] = await Promise.all([import('./app.ts'), languageDetector()]);
const engine = await starting;
metrics.watch(engine);
const lifecycle = createLifecycle();
const policies = await readPolicies();
const dependencies = {
  engine,
  lifecycle,
  logger,
  metrics,
  config,
  ...credentials,
  policies,
  detectLanguage,
  attributes: await readAttributes(),
  feedback: await openFeedback(),
  version,
  tracing,
};
const app = await buildApp(dependencies);
const opsApp = config.opsPort === undefined ? undefined : await buildOpsApp(dependencies);
if (opsApp !== undefined) await listen(opsApp, 'OPS_HOST', config.opsHost ?? config.host, 'OPS_PORT', config.opsPort);
await listen(app, 'HOST', config.host, 'PORT', config.port);

process.on('SIGHUP', () => void Promise.all([reload(), credentials.reload()]));
const watches = config.modelsPollMs > 0 ? watchFolders(config.modelsPollMs) : [];

const shutdown = createShutdown({
  lifecycle,
  drainDelayMs: config.drainDelayMs,
  async close() {
    for (const watch of watches) watch.close();
    await Promise.all([app.close(), opsApp?.close()]);
    await engine.close();
    await tracing?.close();
  },
  exit: (code) => process.exit(code),
});
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.off(signal, leaveWhileLoading).on(signal, shutdown);

const { port } = app.server.address() as AddressInfo;
if (opsApp !== undefined) logger.info(opsApp.server.address(), 'metrics and administration');
const scheme = credentials.tls === undefined ? 'http' : 'https';
output.write(announce(engine, { scheme, host: config.host, port }));

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

async function reload(): Promise<void> {
  await engine.reload().catch((error: unknown) => logger.error({ err: error }, 'models were not reloaded'));
  // After the models, since policies name them.
  await reloadPolicies();
}

async function reloadPolicies(): Promise<void> {
  await policies.reload().catch((error: unknown) => {
    const problems = error instanceof PolicyError ? error.problems : [String(error)];
    logger.error({ problems }, 'policies were not reloaded; the present ones stay');
  });
}

function watchFolders(pollMs: number): FolderWatch[] {
  const { modelsDir, policiesDir } = config;
  return [
    watchFolder(modelsDir, pollMs, reload),
    ...(policiesDir === undefined ? [] : [watchFolder(policiesDir, pollMs, reloadPolicies)]),
    ...(credentials.files.length === 0 ? [] : [watchFiles(credentials.files, pollMs, credentials.reload)]),
  ];
}

async function readPolicies(): Promise<Policies> {
  return createPolicies({ folder: config.policiesDir, engine }).catch((error: unknown) => {
    if (!(error instanceof PolicyError)) throw error;
    return giveUp(`Policies in POLICIES_DIR (${config.policiesDir}) are wrong:\n${indent(error.problems)}`);
  });
}

async function languageDetector(): Promise<DetectLanguage | undefined> {
  if (config.languageDetection === 'off') return undefined;
  const { detectLanguage } = await import('./moderation/language.ts');
  return detectLanguage;
}

/** Where traces go nowhere, nothing of their library is loaded. */
async function loadTracing(): Promise<Tracing | undefined> {
  if (!traced) return undefined;
  const { startTracing } = await import('./observability/tracing/tracing.ts');
  return startTracing({ version, logger, exported: metrics.spans });
}

async function startEngine(): Promise<Engine> {
  const logged = observeModels(observeWorkers(metrics.observer, logger), logger);
  const observer = tracing?.observe(logged) ?? logged;
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

async function readAttributes(): Promise<Attributes> {
  return loadAttributes(config.attributesFile, engine.models()).catch((error: unknown) => {
    if (!(error instanceof AttributesFileError)) throw error;
    return giveUp(`ATTRIBUTES_FILE (${config.attributesFile}) is wrong:\n${indent(error.problems)}`);
  });
}

async function openFeedback(): Promise<FeedbackFile | undefined> {
  if (config.feedbackFile === undefined) return undefined;
  return openFeedbackFile(config.feedbackFile, config.feedbackMaxBytes).catch((error: Error) =>
    giveUp(`FEEDBACK_FILE (${config.feedbackFile}) cannot be appended to: ${error.message}`),
  );
}

async function listen(
  server: Awaited<ReturnType<typeof buildApp>>,
  hostSetting: string,
  host: string,
  portSetting: string,
  port = 0,
): Promise<void> {
  try {
    await server.listen({ host, port });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const remedy: Record<string, string> = {
      EADDRINUSE: `Port ${port} is in use: end what listens on it, or set ${portSetting}.`,
      EACCES: `Port ${port} may not be used by this user: set ${portSetting} to 1024 or more.`,
      EADDRNOTAVAIL: `${hostSetting} (${host}) is no address of this machine.`,
      ENOTFOUND: `${hostSetting} (${host}) is no address of this machine.`,
    };
    giveUp(remedy[code ?? ''] ?? `Cannot listen on ${host}:${port} (${code}).`);
  }
}

async function ownVersion(): Promise<string> {
  const text = await readFile(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

function indent(lines: readonly string[]): string {
  return lines.map((line) => `  ${line}`).join('\n');
}

function giveUp(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}
