/** `GET /policies`: what a request may name as `policy`. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import { DEFAULT_POLICY, PolicySchema } from '../moderation/policy.ts';
import type { Moderator } from '../moderation/types.ts';
import { refer } from './named-schema.ts';
import { problemResponses } from './problem-responses.ts';
import { validationProblem } from './validation-problem.ts';

const closed = { additionalProperties: false };
const { name, version, description, models, combine, thresholds, gates, evasion, languages } = PolicySchema.properties;

const PublicPolicy = Type.Object(
  {
    name,
    version,
    default: Type.Boolean({ description: 'Whether it decides when a request names none' }),
    description,
    models,
    combine,
    thresholds,
    gates,
    evasion,
    languages,
  },
  { $id: 'Policy', ...closed },
);

const PoliciesSchema = Type.Object({ policies: Type.Array(refer(PublicPolicy)) }, { $id: 'Policies', ...closed });

export const policyRoutes: FastifyPluginAsyncTypebox<{ readonly moderator: Moderator }> = async (
  app,
  { moderator },
) => {
  app.addSchema(PublicPolicy);
  app.addSchema(PoliciesSchema);

  app.get(
    '/policies',
    {
      schema: {
        operationId: 'listPolicies',
        tags: ['classification'],
        summary: 'The policies that a request may name',
        querystring: Type.Object({}, closed),
        response: {
          200: {
            description: 'Every policy, by name',
            content: { 'application/json': { schema: refer(PoliciesSchema) } },
          },
          ...problemResponses('unknown_option'),
        },
      },
      schemaErrorFormatter: validationProblem,
    },
    async () => ({
      policies: moderator.policies().map(({ $schema: _, schemaVersion: __, ...policy }) => ({
        ...policy,
        default: policy.name === DEFAULT_POLICY.name,
      })),
    }),
  );
};
