/** The HTTP applications: what clients call, and what operators do. What tests build. */
import { createKeyRing, type KeyRing } from './api/access/key-ring.ts';
import { classifyRoutes } from './api/classify.ts';
import { type Attributes, createAttributes } from './api/compat/attributes.ts';
import type { FeedbackFile } from './api/compat/perspective/feedback-file.ts';
import { PROTOCOLS } from './api/compat/protocols.ts';
import { documentRoutes } from './api/docs.ts';
import { healthRoutes } from './api/health.ts';
import { modelRoutes } from './api/models.ts';
import { operationRoutes } from './api/operation.ts';
import { playgroundRoutes } from './api/playground.ts';
import { policyRoutes } from './api/policies.ts';
import { addSecondForms } from './api/second-form.ts';
import { type BaseDependencies, createBaseApp } from './base-app.ts';
import type { Engine } from './engine/types.ts';
import { createExplainer } from './moderation/explain.ts';
import type { DetectLanguage } from './moderation/language.ts';
import { createModerator } from './moderation/moderator.ts';
import { BUILT_IN_POLICIES, type Policies } from './moderation/policies.ts';

export interface AppDependencies extends Omit<BaseDependencies, 'keys'> {
  readonly engine: Engine;
  /** Those of the configuration, without what is in a file, if absent. */
  readonly keys?: KeyRing;
  /** Only the built-in one if absent. */
  readonly policies?: Policies | undefined;
  /** Languages are not looked at if absent. */
  readonly detectLanguage?: DetectLanguage | undefined;
  /** How labels map onto the words of other services; the bundles' own mappings if absent. */
  readonly attributes?: Attributes;
  /** Suggested scores are not kept if absent. */
  readonly feedback?: FeedbackFile | undefined;
  /** Of the service, as the OpenAPI document says it. */
  readonly version: string;
}

/** Everything; without metrics and administration where OPS_PORT is set. */
export async function buildApp(dependencies: AppDependencies) {
  const { engine, lifecycle, metrics, config, detectLanguage, version } = dependencies;
  const { policies = BUILT_IN_POLICIES, keys = createKeyRing(config) } = dependencies;
  const moderator = createModerator({ engine, policies, detectLanguage });
  const app = await createBaseApp({ ...dependencies, keys });
  const compat = { attributes: createAttributes(), ...dependencies, keys };
  const spoken = PROTOCOLS.filter(({ name }) => config.compat.includes(name));

  await documentRoutes(app, version, keys);
  addSecondForms(
    app,
    spoken.flatMap(({ forms }) => forms?.(compat) ?? []),
  );
  await app.register(classifyRoutes, {
    moderator,
    explainer: createExplainer(engine),
    metrics,
    limits: config,
  });
  await app.register(policyRoutes, { moderator });
  await app.register(modelRoutes, { engine });
  await app.register(healthRoutes, { engine, lifecycle });
  for (const { routes } of spoken) await app.register(routes, compat);
  if (config.opsPort === undefined) await app.register(operationRoutes, { engine, policies, metrics, keys, config });
  await app.register(playgroundRoutes);
  return app;
}

/** Health, metrics and administration: what OPS_PORT serves. */
export async function buildOpsApp(dependencies: AppDependencies) {
  const { engine, lifecycle, metrics, config } = dependencies;
  const { policies = BUILT_IN_POLICIES, keys = createKeyRing(config) } = dependencies;
  // No page of another site has to do with it.
  const app = await createBaseApp({ ...dependencies, keys, config: { ...config, corsOrigins: [] } });
  await app.register(healthRoutes, { engine, lifecycle });
  await app.register(operationRoutes, { engine, policies, metrics, keys, config });
  return app;
}
