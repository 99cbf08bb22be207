/**
 * Which models are served: bundles found, tried and kept under their names.
 */
import { basename } from 'node:path';

import { discoverBundles } from '../bundle/discover.ts';
import type { Bundle } from '../bundle/load.ts';
import type { InferencePool } from './inference-pool.ts';
import type { Tokenizers } from './tokenizers.ts';
import { graphSpec, type ProviderOption, positiveColumns, TrialError, tokenizerSpec, tryBundle } from './trial.ts';
import type { RefusedBundle, ServedModel } from './types.ts';

export interface Model {
  readonly served: ServedModel;
  /** Name by which the child processes know it. */
  readonly key: string;
  /** Columns of `probabilities` that mean "offensive". */
  readonly positive: readonly number[];
}

export interface Models {
  list(): readonly ServedModel[];
  refused(): readonly RefusedBundle[];
  /** The default if the reference is undefined. */
  find(reference: string | undefined): Model | undefined;
}

/** What a bundle is tried and served with. */
export interface ModelMeans {
  readonly tokenizers: Tokenizers;
  readonly pool: InferencePool;
  readonly provider: ProviderOption;
  /** Of each inference process. */
  readonly threads: number;
  readonly batchTokens: number;
}

/**
 * Tries every bundle of a folder and has those that pass served.
 *
 * @throws Error when `modelsDir` cannot be read
 */
export async function createModels(
  options: ModelMeans & { readonly modelsDir: string; readonly defaultModel: string | undefined },
): Promise<Models> {
  const found = await discoverBundles(options.modelsDir);
  const tried = await Promise.all(found.bundles.map((bundle) => bringUp(bundle, options)));
  const models = new Map<string, Model>();
  const refused: RefusedBundle[] = [...found.refused];
  for (const outcome of tried) {
    if ('reason' in outcome) refused.push(outcome);
    else models.set(outcome.served.name, outcome);
  }
  refused.sort((a, b) => (a.folder < b.folder ? -1 : 1));

  return {
    list: () => [...models.values()].map((model) => model.served),
    refused: () => refused,
    find(reference = options.defaultModel) {
      return reference === undefined ? models.values().next().value : models.get(reference);
    },
  };
}

/** Tries one bundle and has it served by all processes. */
async function bringUp(bundle: Bundle, means: ModelMeans): Promise<Model | RefusedBundle> {
  const { manifest } = bundle;
  const key = `${manifest.name}@${manifest.version}`;
  try {
    const tokenizer = await tokenizerSpec(key, bundle);
    const graph = await graphSpec(key, bundle, means.provider, means.threads);
    const choice = await means.pool.trial((worker) =>
      tryBundle(bundle, { tokenizer, graph }, means.tokenizers, worker, means.batchTokens),
    );
    await means.pool.serve({ ...graph, choices: [choice] });
    return {
      key,
      positive: positiveColumns(manifest),
      served: {
        name: manifest.name,
        version: manifest.version,
        folder: basename(bundle.folder),
        digest: '',
        manifest,
        graph: basename(choice.graph.path),
        executionProvider: choice.executionProvider,
      },
    };
  } catch (error) {
    const reason = error instanceof TrialError ? error.message : 'the bundle could not be tried';
    return { folder: basename(bundle.folder), reason };
  }
}
