/** `/admin/…`: changes which models serve and which policies decide. Exists only where there can be a key for it. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';

import { type BundleOutcome, type Engine, ModelChangeError } from '../engine/types.ts';
import { type Policies, PolicyError } from '../moderation/policies.ts';
import { scopeRoutes } from './access/guard.ts';
import { refer } from './named-schema.ts';
import { problemResponses } from './problem-responses.ts';
import { Problem } from './problems.ts';
import { validationProblem } from './validation-problem.ts';

const closed = { additionalProperties: false };

const identity = {
  folder: Type.String({ description: 'In MODELS_DIR' }),
  name: Type.Optional(Type.String({ description: 'Absent when the manifest could not be read' })),
  version: Type.Optional(Type.String()),
};

const BundleStateSchema = Type.Object(
  {
    ...identity,
    state: Type.Enum(['ready', 'unavailable']),
    reason: Type.Optional(
      Type.String({
        description: 'Why it is unavailable; of one that is ready, why its present content does not serve',
      }),
    ),
  },
  { $id: 'BundleState', ...closed },
);

const BundleOutcomeSchema = Type.Object(
  {
    ...identity,
    outcome: Type.Enum(['loaded', 'unchanged', 'unloaded', 'kept', 'refused'], {
      description:
        '`kept`: is gone from the folder but something needs it. `refused`: does not serve; what the folder served before goes on',
    }),
    reason: Type.Optional(Type.String({ description: 'With `kept` and `refused`' })),
  },
  { $id: 'BundleOutcome', ...closed },
);

const ReloadSchema = Type.Object(
  {
    bundles: Type.Array(refer(BundleOutcomeSchema)),
    policies: Type.Object(
      {
        outcome: Type.Enum(['taken', 'refused'], { description: '`refused`: the present ones go on deciding' }),
        problems: Type.Array(Type.String(), { description: 'With `refused`: of every file' }),
      },
      closed,
    ),
    seconds: Type.Number({ description: 'That the models took' }),
  },
  { $id: 'Reload', ...closed },
);

const json = (description: string, schema: ReturnType<typeof refer>) => ({
  description,
  content: { 'application/json': { schema } },
});

const shared = {
  tags: ['administration'],
  querystring: Type.Object({}, closed),
};

export interface AdminOptions {
  readonly engine: Engine;
  readonly policies: Policies;
}

export const adminModelRoutes: FastifyPluginAsyncTypebox<AdminOptions> = async (app, { engine, policies }) => {
  scopeRoutes(app, 'admin');
  app.addSchema(BundleStateSchema);
  app.addSchema(BundleOutcomeSchema);
  app.addSchema(ReloadSchema);

  app.get(
    '/admin/bundles',
    {
      schema: {
        ...shared,
        operationId: 'listBundles',
        summary: 'Every bundle of MODELS_DIR, as last looked at',
        response: {
          200: {
            description: 'Whether each serves',
            content: {
              'application/json': { schema: Type.Object({ bundles: Type.Array(refer(BundleStateSchema)) }, closed) },
            },
          },
          ...problemResponses('unknown_option'),
        },
      },
      schemaErrorFormatter: validationProblem,
    },
    async () => ({ bundles: [...engine.repository()] }),
  );

  app.post(
    '/admin/reload',
    {
      schema: {
        ...shared,
        operationId: 'reloadModels',
        summary: 'Serve what MODELS_DIR holds now, and decide by what POLICIES_DIR holds',
        description:
          'New and changed bundles are verified, tried and warmed while what serves goes on serving, and then switched to; those that are gone are unloaded. Policies are read afterwards, all or none. Answers when all is done.',
        response: {
          200: json('What became of each bundle and of the policies', refer(ReloadSchema)),
          ...problemResponses('unknown_option', 'models_unreadable', 'shutting_down'),
        },
      },
      schemaErrorFormatter: validationProblem,
    },
    async () => {
      const report = await engine.reload().catch((error: unknown) => {
        throw error instanceof ModelChangeError ? asProblem(error) : new Problem('models_unreadable');
      });
      return { ...report, policies: await reloadPolicies(policies) };
    },
  );

  app.post(
    '/admin/bundles/:folder/load',
    {
      schema: {
        ...shared,
        operationId: 'loadBundle',
        summary: 'Serve one bundle, also one that was unloaded by request',
        params: Type.Object({ folder: Type.String({ description: 'As `GET /admin/bundles` has it' }) }, closed),
        response: {
          200: json('It serves', refer(BundleOutcomeSchema)),
          ...problemResponses('unknown_option', 'unknown_bundle', 'bundle_refused', 'shutting_down'),
        },
      },
      schemaErrorFormatter: validationProblem,
    },
    async ({ params: { folder } }) => {
      const outcome = await engine.load(folder).catch(raise);
      if (outcome.outcome === 'refused')
        throw new Problem('bundle_refused', outcome.reason === undefined ? {} : { detail: outcome.reason });
      return outcome;
    },
  );

  app.delete(
    '/admin/models/:name/:version',
    {
      schema: {
        ...shared,
        operationId: 'unloadModel',
        summary: 'Stop serving one version of a model',
        description:
          'What it has in hand is answered first. It stays unloaded until it is loaded by request or the service starts again.',
        params: Type.Object({ name: Type.String(), version: Type.String() }, closed),
        response: {
          200: json('It serves no more', refer(BundleOutcomeSchema)),
          ...problemResponses('unknown_option', 'unknown_model', 'model_needed', 'shutting_down'),
        },
      },
      schemaErrorFormatter: validationProblem,
    },
    async ({ params: { name, version } }): Promise<BundleOutcome> => engine.unload(`${name}@${version}`).catch(raise),
  );
};

async function reloadPolicies(policies: Policies): Promise<{ outcome: 'taken' | 'refused'; problems: string[] }> {
  try {
    await policies.reload();
    return { outcome: 'taken', problems: [] };
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    return { outcome: 'refused', problems: [...error.problems] };
  }
}

function raise(error: unknown): never {
  throw error instanceof ModelChangeError ? asProblem(error) : error;
}

/** The key's owner may know what is in the settings and in the folder. */
function asProblem({ code, message }: ModelChangeError): Problem {
  return new Problem(code, { detail: message });
}
