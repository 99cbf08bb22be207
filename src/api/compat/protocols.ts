/**
 * The foreign protocols that the service speaks: one line here, one file beside this one each.
 *
 * A protocol is a Fastify plugin with routes, limits and an error handler in its own shape; nothing of it leaks into the
 * native API. COMPAT names those that are on. Routes that change what serves are absent unless there can be a key for them.
 */
import type { FastifyPluginAsync } from 'fastify';

import type { Config } from '../../config.ts';
import type { Engine } from '../../engine/types.ts';
import type { Lifecycle } from '../../lifecycle.ts';
import type { DetectLanguage } from '../../moderation/language.ts';
import type { Metrics } from '../../observability/metrics.ts';
import type { KeyRing } from '../access/key-ring.ts';
import type { SecondForm } from '../second-form.ts';
import type { Attributes } from './attributes.ts';
import { kserveRoutes } from './kserve/routes.ts';
import { openaiRoutes } from './openai/routes.ts';
import type { FeedbackFile } from './perspective/feedback-file.ts';
import { perspectiveRoutes } from './perspective/routes.ts';
import { teiRoutes } from './tei/routes.ts';
import { vllmForm } from './vllm/classify.ts';
import { vllmModelRoutes } from './vllm/models.ts';

/** What a protocol's plugin is given. */
export interface CompatOptions {
  readonly engine: Engine;
  readonly lifecycle: Lifecycle;
  readonly metrics: Metrics;
  readonly config: Config;
  readonly keys: KeyRing;
  /** How labels map onto attributes and categories. */
  readonly attributes: Attributes;
  /** Absent where languages are not looked at. */
  readonly detectLanguage?: DetectLanguage | undefined;
  /** Where suggested scores are kept; absent where they are not. */
  readonly feedback?: FeedbackFile | undefined;
  /** Of the service. */
  readonly version: string;
}

export interface Protocol {
  readonly name: Config['compat'][number];
  readonly routes: FastifyPluginAsync<CompatOptions>;
  /** Its requests on paths that are also ours. */
  readonly forms?: (options: CompatOptions) => readonly SecondForm[];
}

export const PROTOCOLS: readonly Protocol[] = [
  { name: 'perspective', routes: perspectiveRoutes },
  { name: 'openai', routes: openaiRoutes },
  { name: 'tei', routes: teiRoutes },
  { name: 'kserve', routes: kserveRoutes },
  { name: 'vllm', routes: vllmModelRoutes, forms: (options) => [vllmForm(options)] },
];
