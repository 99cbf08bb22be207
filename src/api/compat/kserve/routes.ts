/**
 * The Open Inference Protocol, also called KServe v2 (github.com/kserve/open-inference-protocol, inference_rest.md), with
 * Triton's extensions for binary tensors, classification, model configuration and the model repository.
 */
import type { FastifyInstance, FastifyPluginAsync } from 'fastify';

import { Problem } from '../../problems.ts';
import { answerErrors } from '../errors.ts';
import type { CompatOptions } from '../protocols.ts';
import { acceptTensorBodies } from './body.ts';
import { inferRoutes } from './infer.ts';
import { KserveErrorSchema, kserveError } from './kserve-error.ts';
import { kserveModelRoutes } from './models.ts';
import { repositoryChangeRoutes, repositoryRoutes } from './repository.ts';
import { kserveServerRoutes } from './server.ts';

export const kserveRoutes: FastifyPluginAsync<CompatOptions> = async (app, options) => {
  speakKserve(app, options);
  for (const routes of [kserveServerRoutes, kserveModelRoutes, inferRoutes, repositoryRoutes]) {
    await app.register(routes, options);
  }
  // So that clients can read what is wrong with the rest of Triton's API too.
  app.route({
    method: ['GET', 'POST'],
    url: '/v2/*',
    schema: { hide: true },
    config: { catchAll: true },
    handler: async () => {
      throw new Problem('not_found', {
        detail: 'This part of the protocol is not spoken. Statistics are at `/metrics`.',
      });
    },
  });
};

/** What changes which models serve. Apart, since it may have a port of its own. */
export const kserveChangeRoutes: FastifyPluginAsync<Pick<CompatOptions, 'engine' | 'config'>> = async (
  app,
  options,
) => {
  speakKserve(app, options);
  await app.register(repositoryChangeRoutes, options);
};

function speakKserve(app: FastifyInstance, { config }: Pick<CompatOptions, 'config'>): void {
  // Its clients do not say that their JSON is JSON.
  acceptTensorBodies(app, config.bodyLimitBytes);
  app.addSchema(KserveErrorSchema);
  answerErrors(app, kserveError);
}
