/**
 * text-embeddings-inference: the routes of its classifiers (router/src/http/server.rs, types.rs; version 1.9), and what
 * clients of Hugging Face send to a model's address.
 */
import type { FastifyPluginAsync } from 'fastify';

import { answerErrors } from '../errors.ts';
import type { CompatOptions } from '../protocols.ts';
import { huggingFaceRoutes } from './hugging-face.ts';
import { infoRoutes } from './info.ts';
import { predictRoutes } from './predict.ts';
import { TeiErrorSchema, teiError } from './tei-error.ts';

export const teiRoutes: FastifyPluginAsync<CompatOptions> = async (app, options) => {
  app.addSchema(TeiErrorSchema);
  answerErrors(app, teiError);
  for (const routes of [predictRoutes, huggingFaceRoutes, infoRoutes]) await app.register(routes, options);
};
