/** From an engine that starts to a service that listens; its changes while it runs, and its end. */
import type { AddressInfo } from 'node:net';

import type { FastifyBaseLogger } from 'fastify';

import { announce } from './announcement.ts';
import type { Attributes } from './api/compat/attributes.ts';
import { AttributesFileError, loadAttributes } from './api/compat/attributes-file.ts';
import { type FeedbackFile, openFeedbackFile } from './api/compat/perspective/feedback-file.ts';
import { buildApp, buildOpsApp } from './app.ts';
import { type FolderWatch, watchFiles, watchFolder } from './bundle/watch.ts';
import type { Config } from './config.ts';
import type { Credentials } from './credentials.ts';
import type { Engine } from './engine/types.ts';
import { giveUp, indent } from './give-up.ts';
import { createLifecycle } from './lifecycle.ts';
import type { DetectLanguage } from './moderation/language.ts';
import { createPolicies, type Policies, PolicyError } from './moderation/policies.ts';
import type { Metrics } from './observability/metrics.ts';
import type { Tracing } from './observability/tracing/types.ts';
import { createShutdown } from './shutdown.ts';

export interface Serving {
  readonly config: Config;
  readonly credentials: Credentials;
  readonly logger: FastifyBaseLogger;
  readonly metrics: Metrics;
  /** Resolves when models can answer. */
  readonly starting: Promise<Engine>;
  readonly tracing: Tracing | undefined;
  readonly version: string;
}

export interface Served {
  /** What a person reads now. */
  readonly announcement: string;
  /** Ends the service in order: drains, closes, exits. */
  readonly shutdown: () => void;
}

/** Listens. What is wrong with a setting ends the process. */
export async function serve(serving: Serving): Promise<Served> {
  const { config, credentials, logger, metrics, starting, tracing, version } = serving;
  const detectLanguage = await languageDetector(serving);
  const engine = await starting;
  metrics.watch(engine);
  const lifecycle = createLifecycle();
  const policies = await readPolicies(serving, engine);
  const dependencies = {
    engine,
    lifecycle,
    logger,
    metrics,
    config,
    ...credentials,
    policies,
    detectLanguage,
    attributes: await readAttributes(serving, engine),
    feedback: await openFeedback(serving),
    version,
    tracing,
  };
  const app = await buildApp(dependencies);
  const opsApp = config.opsPort === undefined ? undefined : await buildOpsApp(dependencies);
  if (opsApp !== undefined) await listen(opsApp, 'OPS_HOST', config.opsHost ?? config.host, 'OPS_PORT', config.opsPort);
  await listen(app, 'HOST', config.host, 'PORT', config.port);
  if (opsApp !== undefined) logger.info(opsApp.server.address(), 'metrics and administration');

  process.on('SIGHUP', () => void Promise.all([reload(), credentials.reload()]));
  const watches = config.modelsPollMs > 0 ? watchFolders(config.modelsPollMs) : [];

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

  const scheme = credentials.tls === undefined ? 'http' : 'https';
  const { port } = app.server.address() as AddressInfo;
  return {
    announcement: announce(engine, { scheme, host: config.host, port }),
    shutdown: createShutdown({
      lifecycle,
      drainDelayMs: config.drainDelayMs,
      async close() {
        for (const watch of watches) watch.close();
        await Promise.all([app.close(), opsApp?.close()]);
        await engine.close();
        await tracing?.close();
      },
      exit: (code) => process.exit(code),
    }),
  };
}

async function readPolicies({ config }: Serving, engine: Engine): Promise<Policies> {
  return createPolicies({ folder: config.policiesDir, engine }).catch((error: unknown) => {
    if (!(error instanceof PolicyError)) throw error;
    return giveUp(`Policies in POLICIES_DIR (${config.policiesDir}) are wrong:\n${indent(error.problems)}`);
  });
}

async function languageDetector({ config }: Serving): Promise<DetectLanguage | undefined> {
  if (config.languageDetection === 'off') return undefined;
  const { detectLanguage } = await import('./moderation/language.ts');
  return detectLanguage;
}

async function readAttributes({ config }: Serving, engine: Engine): Promise<Attributes> {
  return loadAttributes(config.attributesFile, engine.models()).catch((error: unknown) => {
    if (!(error instanceof AttributesFileError)) throw error;
    return giveUp(`ATTRIBUTES_FILE (${config.attributesFile}) is wrong:\n${indent(error.problems)}`);
  });
}

async function openFeedback({ config }: Serving): Promise<FeedbackFile | undefined> {
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
