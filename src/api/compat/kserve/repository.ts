/** Triton's model repository (docs/protocol/extension_model_repository.md). Loading and unloading need a key. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifySchemaValidationError } from 'fastify/types/schema.js';
import { type Static, type TSchema, Type } from 'typebox';

import { type BundleOutcome, type Engine, ModelChangeError } from '../../../engine/types.ts';
import { scopeRoutes } from '../../access/guard.ts';
import { Problem } from '../../problems.ts';
import { errorResponses, fieldProblem, JSON_TYPE } from '../errors.ts';
import type { CompatOptions } from '../protocols.ts';
import { KserveErrorSchema, kserveError } from './kserve-error.ts';

const STATES = { ready: 'READY', unavailable: 'UNAVAILABLE' } as const;

const Index = Type.Array(
  Type.Object({
    name: Type.String(),
    version: Type.String({ description: 'Empty where the bundle could not be read' }),
    state: Type.Enum(Object.values(STATES)),
    reason: Type.String({ description: 'Why it is in this state; empty if there is nothing to say' }),
  }),
);

/** The body may be empty. */
function optionalBody<T extends Type.TProperties>(properties: T) {
  return Type.Union([Type.Object(properties), Type.Null()]);
}

const params = Type.Object({ model: Type.String({ description: 'Name of a model' }) });

export const repositoryRoutes: FastifyPluginAsyncTypebox<CompatOptions> = async (app, { engine }) => {
  app.post(
    '/v2/repository/index',
    {
      schema: {
        operationId: 'kserveRepositoryIndex',
        tags: ['KServe'],
        summary: 'Every bundle in MODELS_DIR, served or not',
        body: optionalBody({ ready: Type.Optional(Type.Boolean({ description: 'Only those that are served' })) }),
        response: {
          200: { description: 'The bundles', content: { [JSON_TYPE]: { schema: Index } } },
          ...errorResponses(kserveError, KserveErrorSchema, [
            'invalid_json',
            'invalid_utf8',
            'invalid_body',
            'body_too_large',
          ]),
        },
      },
      schemaErrorFormatter: fieldProblem,
    },
    async (request) => index(engine, request.body?.ready ?? false),
  );
};

/** Loading and unloading, for whoever has a key with the scope `admin`. */
export const repositoryChangeRoutes: FastifyPluginAsyncTypebox<Pick<CompatOptions, 'engine'>> = async (
  app,
  { engine },
) => {
  scopeRoutes(app, 'admin');
  for (const { verb, change, summary, parameters, codes } of CHANGES) {
    app.post(
      `/v2/repository/models/:model/${verb}`,
      {
        schema: {
          operationId: `kserveRepository${verb === 'load' ? 'Load' : 'Unload'}`,
          tags: ['KServe'],
          summary,
          params,
          body: optionalBody({ parameters: Type.Optional(parameters) }),
          response: {
            200: { description: 'It is so', content: { [JSON_TYPE]: { schema: Type.Object({}) } } },
            ...errorResponses(kserveError, KserveErrorSchema, [...codes, ...ALWAYS]),
          },
        },
        schemaErrorFormatter: changeProblem,
      },
      async (request) => {
        await change(engine, request.params.model).catch((error: unknown) => {
          throw error instanceof ModelChangeError ? new Problem(error.code, { detail: error.message }) : error;
        });
        return {};
      },
    );
  }
};

const ALWAYS = ['invalid_json', 'invalid_utf8', 'invalid_body', 'body_too_large', 'shutting_down'] as const;

interface Change {
  readonly verb: 'load' | 'unload';
  readonly summary: string;
  readonly parameters: TSchema;
  readonly codes: readonly ('unknown_bundle' | 'bundle_refused' | 'unknown_model' | 'model_needed')[];
  change(engine: Engine, name: string): Promise<void>;
}

const CHANGES: readonly Change[] = [
  {
    verb: 'load',
    summary: 'Load or reload every version of a model; the name of a folder in MODELS_DIR will do too',
    parameters: Type.Object({}, { maxProperties: 0, description: 'Triton’s `config` and `file:…` are not taken' }),
    codes: ['unknown_bundle', 'bundle_refused'],
    change: load,
  },
  {
    verb: 'unload',
    summary: 'Stop serving every version of a model',
    parameters: Type.Object({}, { description: 'Without effect' }),
    codes: ['unknown_model', 'model_needed'],
    change: unload,
  },
];

function index(engine: Engine, onlyReady: boolean): Static<typeof Index> {
  return engine
    .repository()
    .filter(({ state }) => !onlyReady || state === 'ready')
    .map(({ folder, name = folder, version = '', state, reason = '' }) => ({
      name,
      version,
      state: STATES[state],
      reason,
    }));
}

function changeProblem(errors: readonly FastifySchemaValidationError[]): Problem {
  if (!errors.some(({ keyword }) => keyword === 'maxProperties')) return fieldProblem(errors);
  return new Problem('invalid_body', {
    detail: 'A bundle brings its own configuration and files; no parameters are taken.',
    pointer: '/parameters',
  });
}

async function load(engine: Engine, name: string): Promise<void> {
  const folders = engine
    .repository()
    .flatMap((entry) => (entry.name === name || entry.folder === name ? entry.folder : []));
  if (folders.length === 0) throw new Problem('unknown_bundle');
  for (const folder of folders) refuseFailure(await engine.load(folder));
}

function refuseFailure({ outcome, reason }: BundleOutcome): void {
  if (outcome !== 'refused') return;
  throw new Problem('bundle_refused', reason === undefined ? {} : { detail: reason });
}

/** `unload_dependents` is always sent and has no meaning here: models do not depend on each other. */
async function unload(engine: Engine, name: string): Promise<void> {
  const versions = engine.models().filter((model) => model.name === name);
  if (versions.length === 0) throw new Problem('unknown_model');
  for (const { version } of versions) await engine.unload(`${name}@${version}`);
}
