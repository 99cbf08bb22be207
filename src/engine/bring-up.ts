/** One bundle -> a model that runs, or why it does not. */
import { basename } from 'node:path';

import type { RefusedFolder } from '../bundle/discover.ts';
import type { Bundle, HeldBundle } from '../bundle/load.ts';
import type { LoadGraph, LoadTokenizer } from './protocol.ts';
import { ChildError } from './supervisor.ts';
import { type GraphMeans, graphSpec, positiveColumns, TrialError, tokenizerSpec } from './trial.ts';
import type { ServedModel } from './types.ts';

export interface Model {
  readonly served: ServedModel;
  /** Name by which the child processes know it: `name@version#number`, the number its own, as contents may return. */
  readonly key: string;
  /** Columns of `probabilities` that mean "offensive". */
  readonly positive: readonly number[];
}

/** A model with what is needed to bring it up again and to let it go. */
export interface Running extends Model {
  readonly bundle: HeldBundle;
  readonly tokenizer: LoadTokenizer;
  readonly graph: LoadGraph;
  /** Requests that it answers now. */
  users: number;
  /** Called when the last of them is answered. */
  unused: (() => void) | undefined;
}

/** What the child processes need to know of a bundle. */
interface Specs {
  readonly tokenizer: LoadTokenizer;
  readonly graph: LoadGraph;
}

/** @returns the model, or why the bundle is none */
export async function attempt(
  bundle: Bundle,
  specs: Specs | TrialError,
  bringUp: (specs: Specs) => Promise<LoadGraph['choices'][number]>,
): Promise<Running | RefusedFolder> {
  const { golden: _, ...held } = bundle;
  const { manifest } = held;
  const { name, version } = manifest;
  const folder = basename(held.folder);
  try {
    if (specs instanceof TrialError) throw specs;
    const choice = await bringUp(specs);
    return {
      key: specs.graph.model,
      positive: positiveColumns(manifest),
      served: {
        name,
        version,
        folder,
        digest: held.sha256.slice(0, 12),
        manifest,
        graph: basename(choice.graph.path),
        executionProvider: choice.executionProvider,
      },
      bundle: held,
      tokenizer: specs.tokenizer,
      graph: { ...specs.graph, choices: [choice] },
      users: 0,
      unused: undefined,
    };
  } catch (error) {
    return { folder, name, version, reason: reasonOf(error) };
  }
}

export function specsOf(bundle: Bundle, number: number, graphs: GraphMeans): Specs | TrialError {
  const { name, version } = bundle.manifest;
  const key = `${name}@${version}#${number}`;
  try {
    return { tokenizer: tokenizerSpec(key, bundle), graph: graphSpec(key, bundle, graphs) };
  } catch (error) {
    if (error instanceof TrialError) return error;
    throw error;
  }
}

export function reasonOf(error: unknown): string {
  return error instanceof TrialError || error instanceof ChildError ? error.message : 'the bundle could not be tried';
}

export const isRunning = (outcome: Running | RefusedFolder): outcome is Running => 'served' in outcome;
export const isRefused = (outcome: Running | RefusedFolder): outcome is RefusedFolder => 'reason' in outcome;
