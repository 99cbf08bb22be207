/**
 * The engine: texts in, probabilities and gates out (types.ts).
 *
 * This process only keeps the books. Texts go to a tokenizer process, come back as ids, are cut into windows, wait in
 * the scheduler over all requests together, and run on whichever inference process is free.
 */
import { basename } from 'node:path';

import { discoverBundles } from '../bundle/discover.ts';
import type { Bundle } from '../bundle/load.ts';
import { combineWindows } from './combine.ts';
import { usableCpus } from './cpus.ts';
import { createInferencePool, type InferencePool } from './inference-pool.ts';
import { createScheduler, type Window } from './scheduler.ts';
import { ChildError, type ChildWatch } from './supervisor.ts';
import { createTokenizers, type TokenizedText, type Tokenizers } from './tokenizers.ts';
import {
  graphSpec,
  type ProviderOption,
  positiveColumns,
  TrialError,
  textTokens,
  tokenizerSpec,
  tryBundle,
} from './trial.ts';
import {
  type Classification,
  type Engine,
  EngineError,
  type EngineObserver,
  type RefusedBundle,
  type ServedModel,
  type TextResult,
  type WindowResult,
} from './types.ts';
import { cutWindows } from './windows.ts';

/** Each option's setting is proposed in brackets; every one but `modelsDir` has a default. */
export interface EngineOptions {
  /** [MODELS_DIR] Folder whose subfolders are bundles. */
  readonly modelsDir: string;
  /** [DEFAULT_MODEL] Name of the model that answers when a request names none. Default: the first by name. */
  readonly defaultModel?: string | undefined;
  /**
   * [EXECUTION_PROVIDER] `cuda`: a bundle that cannot run on it is refused. `auto`: CUDA where a graph lists it and
   * the machine has it, else the CPU. Default `auto`.
   */
  readonly executionProvider?: ProviderOption | undefined;
  /** [WORKERS] Inference processes. Default: one for each usable processor, which suits small models. */
  readonly workers?: number | undefined;
  /** [THREADS] Threads of each inference process. Default: usable processors / workers, rounded down, at least 1. */
  readonly threads?: number | undefined;
  /** [BATCH_TOKENS] Tokens of one batch, padding included. Default 192: larger ones fall out of the processor's caches. A GPU wants thousands. */
  readonly batchTokens?: number | undefined;
  /** [BATCH_WINDOWS] Windows of one batch. Default 64. */
  readonly batchWindows?: number | undefined;
  /** [QUEUE_WINDOWS] Windows, and texts not yet tokenised, that may wait; beyond it requests are `overloaded`. Default 2048. */
  readonly queueWindows?: number | undefined;
  /** [QUEUE_TOKENS] Tokens that may wait. Default 65536. */
  readonly queueTokens?: number | undefined;
  /** [QUEUE_CHARACTERS] UTF-16 units that may wait for a tokenizer. Default 2,000,000. */
  readonly queueCharacters?: number | undefined;
  /** [WORKER_TIMEOUT_MS] A child process that has not answered one batch after so many milliseconds is replaced. Default 30000. */
  readonly workerTimeoutMs?: number | undefined;
  /** [LOAD_TIMEOUT_MS] The same for loading a model. Default 120000. */
  readonly loadTimeoutMs?: number | undefined;
  readonly observer?: Partial<EngineObserver> | undefined;
}

interface Model {
  readonly served: ServedModel;
  /** Name by which the child processes know it. */
  readonly key: string;
  readonly positive: readonly number[];
}

/** One window on its way. */
interface Item {
  readonly ids: Int32Array;
  readonly job: Job;
  readonly text: number;
  readonly window: number;
}

/** One request whose windows wait or run. */
interface Job {
  readonly windows: Window<Item>[];
  readonly outputs: WindowResult[][];
  pending: number;
  settled: boolean;
  queueSeconds: number;
  inferenceSeconds: number;
  resolve(): void;
  reject(error: unknown): void;
}

/**
 * Starts the child processes, loads and tries every bundle, and resolves when what passed is being served.
 * A bundle that fails is in `refused()`; serving nothing is not an error of this function.
 *
 * @throws Error when `modelsDir` cannot be read
 */
export async function createEngine(options: EngineOptions): Promise<Engine> {
  const cpus = usableCpus();
  const workers = options.workers ?? cpus;
  const threads = options.threads ?? Math.max(1, Math.floor(cpus / workers));
  const batchTokens = options.batchTokens ?? 192;
  const queueWindows = options.queueWindows ?? 2048;
  const queueCharacters = options.queueCharacters ?? 2_000_000;
  const timeoutMs = options.workerTimeoutMs ?? 30_000;
  const loadTimeoutMs = options.loadTimeoutMs ?? 120_000;
  const observer = options.observer ?? {};

  const nameOf = (key: string) => key.slice(0, key.lastIndexOf('@'));
  const watch: ChildWatch = {
    started: (event) => observer.workerStarted?.(event),
    exited: (event) => observer.workerExited?.(event),
  };
  const scheduler = createScheduler<Item>({
    batchTokens,
    batchWindows: options.batchWindows ?? 64,
    queueWindows,
    queueTokens: options.queueTokens ?? 65_536,
  });
  const tokenizers = createTokenizers({ timeoutMs, loadTimeoutMs, watch });
  const pool = createInferencePool<Item>({
    workers,
    timeoutMs,
    loadTimeoutMs,
    scheduler,
    events: {
      taken(batch) {
        batch.windows.forEach(({ item }, i) => {
          const seconds = (batch.waitedMs[i] as number) / 1000;
          item.job.queueSeconds = Math.max(item.job.queueSeconds, seconds);
          observer.queued?.({ model: nameOf(batch.model), seconds });
        });
        observer.depth?.(scheduler.windows);
      },
      finished(batch, { seconds }) {
        const tokens = batch.windows.reduce((sum, window) => sum + window.tokens, 0);
        const paddedTokens = batch.longest * batch.windows.length;
        observer.batch?.({ model: nameOf(batch.model), windows: batch.windows.length, tokens, paddedTokens, seconds });
      },
      ran({ item, tokens }, output, seconds) {
        const { job } = item;
        (job.outputs[item.text] as WindowResult[])[item.window] = { tokens, ...output };
        job.inferenceSeconds += seconds;
        if (--job.pending === 0) job.resolve();
      },
      wanted: ({ item }) => !item.job.settled,
      failed({ item }) {
        const message = 'The model process failed twice on this text; try again, and report it if it goes on failing';
        item.job.reject(new EngineError('inference_failed', message, item.text));
      },
    },
    watch,
  });

  let found: Awaited<ReturnType<typeof discoverBundles>>;
  try {
    found = await discoverBundles(options.modelsDir);
  } catch (error) {
    await Promise.all([tokenizers.close(), pool.close()]);
    throw error;
  }
  const provider = options.executionProvider ?? 'auto';
  const tried = await Promise.all(
    found.bundles.map((bundle) => bringUp(bundle, { tokenizers, pool, provider, threads, batchTokens })),
  );
  const models = new Map<string, Model>();
  const refused: RefusedBundle[] = [...found.refused];
  for (const outcome of tried) {
    if ('reason' in outcome) refused.push(outcome);
    else models.set(outcome.served.name, outcome);
  }
  refused.sort((a, b) => (a.folder < b.folder ? -1 : 1));

  let closing: Promise<void> | undefined;
  let inHand = 0;
  let emptied: (() => void) | undefined;

  const defaultModel = () =>
    options.defaultModel === undefined ? models.values().next().value : models.get(options.defaultModel);

  async function classify(model: Model, texts: readonly string[], signal?: AbortSignal): Promise<Classification> {
    const { manifest } = model.served;
    const waiting = scheduler.windows + tokenizers.texts;
    if (waiting > 0 && waiting + texts.length > queueWindows) throw overloaded();
    if (tokenizers.characters > queueCharacters) throw overloaded();

    const asked = performance.now();
    const { texts: tokenized, seconds } = await tokenizers.tokenize(model.key, texts, signal);
    // Texts of both lanes are worked on at the same time, so the work can be more than the time that passed.
    const tokenizerWaitMs = Math.max(0, performance.now() - asked - seconds * 1000);
    const ids = tokenized.map(idsOrError);
    const tokens = ids.reduce((sum, own) => sum + textTokens(own, manifest), 0);
    observer.tokenized?.({ model: model.served.name, texts: texts.length, tokens, seconds });

    const job = await runWindows(model, ids, signal);
    return {
      model: model.served,
      results: job.outputs.map(
        (windows, i): TextResult => combineWindows(windows, model.positive, textTokens(ids[i] as Int32Array, manifest)),
      ),
      timing: {
        queueMs: tokenizerWaitMs + job.queueSeconds * 1000,
        tokenizeMs: seconds * 1000,
        inferenceMs: job.inferenceSeconds * 1000,
      },
    };
  }

  async function runWindows(model: Model, ids: readonly Int32Array[], signal?: AbortSignal): Promise<Job> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const job: Job = {
      windows: [],
      outputs: [],
      pending: 0,
      settled: false,
      queueSeconds: 0,
      inferenceSeconds: 0,
      resolve,
      reject(error) {
        if (job.settled) return;
        job.settled = true;
        scheduler.remove(job.windows);
        observer.depth?.(scheduler.windows);
        reject(error);
      },
    };
    ids.forEach((own, text) => {
      const cut = cutWindows(own, model.served.manifest.input);
      job.outputs.push(new Array<WindowResult>(cut.length));
      cut.forEach((windowIds, window) => {
        job.windows.push({
          model: model.key,
          tokens: windowIds.length,
          item: { ids: windowIds, job, text, window },
        });
      });
    });
    job.pending = job.windows.length;
    if (job.pending === 0) return job;
    if (!scheduler.offer(job.windows, performance.now())) throw overloaded();

    const abort = () => job.reject(signal?.reason);
    signal?.addEventListener('abort', abort);
    observer.depth?.(scheduler.windows);
    pool.wake();
    try {
      await promise;
      return job;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  return {
    models: () => [...models.values()].map((model) => model.served),
    refused: () => refused,
    defaultModel: () => defaultModel()?.served,
    ready: () => closing === undefined && models.size > 0 && tokenizers.running && pool.running,
    async classify(name, texts, signal) {
      if (closing !== undefined) throw new EngineError('shutting_down', 'The service is shutting down');
      const model = name === undefined ? defaultModel() : models.get(name);
      if (model === undefined) throw unknownModel(name, [...models.keys()]);
      signal?.throwIfAborted();
      inHand++;
      try {
        return await classify(model, texts, signal);
      } catch (error) {
        throw error instanceof ChildError ? tokenizerFailed() : error;
      } finally {
        inHand--;
        if (inHand === 0) emptied?.();
      }
    },
    close() {
      closing ??= (async () => {
        if (inHand > 0)
          await new Promise<void>((resolve) => {
            emptied = resolve;
          });
        await Promise.all([tokenizers.close(), pool.close()]);
      })();
      return closing;
    },
  };
}

/** Tries one bundle and has it served by all processes. */
async function bringUp(
  bundle: Bundle,
  means: {
    readonly tokenizers: Tokenizers;
    readonly pool: InferencePool;
    readonly provider: ProviderOption;
    readonly threads: number;
    readonly batchTokens: number;
  },
): Promise<Model | RefusedBundle> {
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

function idsOrError(text: TokenizedText, index: number): Int32Array {
  if (!('error' in text)) return text.ids;
  const message =
    text.error === 'invalid_unicode'
      ? 'The text holds a lone surrogate, which is no Unicode character: send well-formed Unicode'
      : 'Nothing is left of the text after normalisation: send a text with words';
  throw new EngineError(text.error, message, index);
}

function overloaded(): EngineError {
  return new EngineError('overloaded', 'More texts are waiting than the service admits: try again shortly');
}

function tokenizerFailed(): EngineError {
  return new EngineError('inference_failed', 'The tokenizer process failed on this request: try again');
}

function unknownModel(name: string | undefined, served: readonly string[]): EngineError {
  const choice = served.length > 0 ? `served are ${served.join(', ')}` : 'none is served';
  return new EngineError(
    'unknown_model',
    `${name === undefined ? 'No default model is served' : 'No such model'}: ${choice}`,
  );
}
