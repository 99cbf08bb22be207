/**
 * Tries a bundle before it serves: loads its tokenizer and a graph, and replays its golden vectors through them,
 * each text alone and in mixed batches. Once for a bundle, on one process of each kind.
 */
import { basename } from 'node:path';

import { storedFiles } from '../bundle/consistency.ts';
import { compareGolden, type Replayed } from '../bundle/golden.ts';
import type { Bundle, HeldBundle } from '../bundle/load.ts';
import type { Manifest } from '../bundle/manifest.ts';
import { combineWindows } from './combine.ts';
import type { TrialWorker, WindowOutput } from './inference-process.ts';
import type { ExecutionProvider, GraphChoice, LoadGraph, LoadTokenizer } from './protocol.ts';
import { stampHeld, stampPath } from './stamp.ts';
import { ChildError } from './supervisor.ts';
import type { TokenizedText, Tokenizers } from './tokenizers.ts';
import { cutWindows, textTokens } from './windows.ts';

/** Why a sound folder is not a model that can serve. */
export class TrialError extends Error {
  override readonly name = 'TrialError';
}

/** Problems named at most in a reason. */
const SHOWN = 3;

/**
 * Providers in the order in which they are tried.
 * `auto` takes CUDA where a graph is made for it and the machine has it.
 */
const PROVIDERS = { auto: ['cuda', 'cpu'], cpu: ['cpu'], cuda: ['cuda'] } as const;

export type ProviderOption = keyof typeof PROVIDERS;

/** Where and how graphs run. */
export interface GraphMeans {
  readonly provider: ProviderOption;
  /** Index of the CUDA device. */
  readonly cudaDevice: number;
  /** Of each inference process. */
  readonly threads: number;
}

/** A tokenizer process while a bundle is tried out on it. */
export type TrialTokenizers = Pick<Tokenizers, 'load' | 'inspect'>;

/** What `loadTokenizer` of a tokenizer process needs to know of a bundle. */
export function tokenizerSpec(model: string, { files, manifest }: HeldBundle): LoadTokenizer {
  const hash = (file: string) => storedFiles(manifest).find((entry) => entry.file === file)?.sha256;
  return {
    type: 'load-tokenizer',
    model,
    identity: `${hash('tokenizer.json')} ${hash('tokenizer_config.json')}`,
    tokenizer: stampHeld(files.get('tokenizer.json')),
    config: stampHeld(files.get('tokenizer_config.json')),
    normalization: manifest.input.normalization,
  };
}

/**
 * What an inference process needs to know of a bundle.
 *
 * @throws TrialError when no graph is made for the wanted provider
 */
export function graphSpec(
  model: string,
  { files, manifest }: HeldBundle,
  { provider, cudaDevice, threads }: GraphMeans,
): LoadGraph {
  const wanted = PROVIDERS[provider].flatMap((executionProvider: ExecutionProvider) => {
    const graph = manifest.graphs.find((entry) => entry.executionProviders.includes(executionProvider));
    return graph === undefined ? [] : [{ graph, executionProvider }];
  });
  if (wanted.length === 0)
    throw new TrialError(`no graph lists the execution provider ${PROVIDERS[provider].join(' or ')}`);
  const choices = wanted.map(({ graph, executionProvider }) => ({
    graph: (graph.externalData.length > 0 ? stampPath : stampHeld)(files.get(graph.file)),
    externalData: graph.externalData.map(({ file }) => stampPath(files.get(file))),
    executionProvider,
  }));
  return {
    type: 'load-graph',
    model,
    choices,
    threads,
    cudaDevice,
    padId: manifest.input.padId,
    maxTokens: manifest.input.maxTokens,
    labels: manifest.labels.length,
    gates: manifest.gates.length,
  };
}

/**
 * @param batchTokens tokens of a mixed batch, padding included
 * @returns the graph and provider that really run
 * @throws TrialError with the reason, which holds no text
 */
export async function tryBundle(
  bundle: Bundle,
  specs: { readonly tokenizer: LoadTokenizer; readonly graph: LoadGraph },
  tokenizers: TrialTokenizers,
  worker: TrialWorker,
  batchTokens: number,
): Promise<GraphChoice> {
  try {
    const [choice, tokenized] = await Promise.all([
      worker.load(specs.graph),
      tokenizeGolden(bundle, specs.tokenizer, tokenizers),
    ]);
    const problems = await replayGolden(bundle, specs.graph.model, choice, tokenized, worker, batchTokens);
    if (problems.length === 0) return choice;
    await worker.unload(specs.graph.model);
    const more = problems.length > SHOWN ? [`${problems.length - SHOWN} more problems`] : [];
    throw new TrialError([...problems.slice(0, SHOWN), ...more].join('; '));
  } catch (error) {
    if (error instanceof ChildError) throw new TrialError(`while the bundle was tried: ${error.message}`);
    throw error;
  }
}

async function tokenizeGolden(
  { golden }: Bundle,
  spec: LoadTokenizer,
  tokenizers: TrialTokenizers,
): Promise<readonly TokenizedText[]> {
  await tokenizers.load(spec);
  return tokenizers.inspect(
    spec.model,
    golden.items.map((item) => item.text),
  );
}

async function replayGolden(
  { golden, manifest }: Bundle,
  model: string,
  choice: GraphChoice,
  tokenized: readonly TokenizedText[],
  worker: TrialWorker,
  batchTokens: number,
): Promise<readonly string[]> {
  const graph = manifest.graphs.find((entry) => entry.file === basename(choice.graph.path));
  const precision = graph?.precision ?? '';
  const windows = tokenized.map((text) => ('error' in text ? [] : cutWindows(text.ids, manifest.input)));

  const replay = (outputs: readonly (readonly WindowOutput[])[]): Replayed[] =>
    tokenized.map((text, i) =>
      'error' in text
        ? text
        : replayed(text, windows[i] as Int32Array[], outputs[i] as readonly WindowOutput[], manifest),
    );

  const batches = mixedBatches(windows, batchTokens);
  const outputs = await worker.runInTurn(model, [
    ...windows.filter((own) => own.length > 0),
    ...batches.map((batch) => batch.map(({ ids }) => ids)),
  ]);

  let next = 0;
  const alone = windows.map((own) => (own.length === 0 ? [] : (outputs[next++] as WindowOutput[])));
  const problems = compareGolden(golden, precision, replay(alone), 'alone');
  const mixed = alone.map((own) => [...own]);
  for (const batch of batches) {
    const rows = outputs[next++] as WindowOutput[];
    batch.forEach(({ text }, row) => {
      (mixed[text] as WindowOutput[])[0] = rows[row] as WindowOutput;
    });
  }
  return [...problems, ...compareGolden(golden, precision, replay(mixed), 'in a mixed batch')];
}

function replayed(
  text: { readonly ids: Int32Array; readonly normalized: string },
  ids: readonly Int32Array[],
  outputs: readonly WindowOutput[],
  manifest: Manifest,
): Replayed {
  const scored = ids.map((own, w) => ({ tokens: own.length, ...(outputs[w] as WindowOutput) }));
  const combined = combineWindows(scored, positiveColumns(manifest), textTokens(text.ids, manifest.input));
  return {
    normalized: text.normalized,
    windows: ids.map((own, w) => ({ ids: own, ...(outputs[w] as WindowOutput) })),
    combined,
  };
}

/** A text's first window. */
interface GoldenWindow {
  readonly text: number;
  readonly ids: Int32Array;
}

/**
 * Short and long windows together, so that padding would show: both ends of the order of length in turn.
 *
 * Of all texts of several windows one window joins: they are full, so padding cannot touch them, and they ran beside
 * each other already.
 */
function mixedBatches(windows: readonly (readonly Int32Array[])[], batchTokens: number): GoldenWindow[][] {
  const several = windows.findIndex((own) => own.length > 1);
  const all = windows
    .flatMap((own, text): GoldenWindow[] => {
      const [ids] = own;
      return ids !== undefined && (own.length === 1 || text === several) ? [{ text, ids }] : [];
    })
    .sort((a, b) => b.ids.length - a.ids.length);
  const dealt = all.map((_, i) => all[i % 2 === 0 ? i / 2 : all.length - (i + 1) / 2] as GoldenWindow);
  const batches: GoldenWindow[][] = [];
  let current: GoldenWindow[] = [];
  for (const next of dealt) {
    const longest = Math.max(next.ids.length, ...current.map(({ ids }) => ids.length));
    if (current.length > 1 && longest * (current.length + 1) > batchTokens) {
      batches.push(current);
      current = [];
    }
    current.push(next);
  }
  return current.length > 0 ? [...batches, current] : batches;
}

/** Columns of `probabilities` that mean "offensive". */
export function positiveColumns(manifest: Manifest): readonly number[] {
  return manifest.positiveLabels.map((label) => manifest.labels.indexOf(label));
}
