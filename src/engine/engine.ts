/**
 * The engine: texts in, probabilities and gates out (types.ts).
 *
 * This process only keeps the books. Texts go to a tokenizer process, come back as ids, are cut into windows, wait in
 * the scheduler over all requests together, and run on whichever inference process is free.
 */
import { createAdmission } from './admission.ts';
import { createAnswers, type Item, nameOf } from './answers.ts';
import type { Model } from './bring-up.ts';
import { usableCpus } from './cpus.ts';
import { createInferencePool } from './inference-pool.ts';
import type { Models } from './models.ts';
import { createPace } from './pace.ts';
import { createQuarantine } from './quarantine.ts';
import type { ShadowRule } from './references.ts';
import { createRequests } from './requests.ts';
import { createScheduler } from './scheduler.ts';
import { createShadows } from './shadow.ts';
import type { ChildWatch } from './supervisor.ts';
import { createTokenizers, type Tokenizers } from './tokenizers.ts';
import type { ProviderOption } from './trial.ts';
import {
  type Classification,
  type ClassifyRequest,
  type Engine,
  EngineError,
  type EngineObserver,
  type ServedModel,
  type TextOutcome,
} from './types.ts';

/** Each option's setting is proposed in brackets; every one but `modelsDir` has a default. */
export interface EngineOptions {
  /** [MODELS_DIR] Folder whose subfolders are bundles. */
  readonly modelsDir: string;
  /** [DEFAULT_MODEL] Name, alias or `name@version` of what answers when a request names no model. Default: the first by name. */
  readonly defaultModel?: string | undefined;
  /** [ALIASES] Alias -> name or `name@version`. An alias with the name of a model pins it to a version. Default: none. */
  readonly aliases?: ReadonlyMap<string, string> | undefined;
  /** [SHADOW] Shares of traffic that a second model classifies too. Default: none. */
  readonly shadows?: readonly ShadowRule[] | undefined;
  /**
   * [EXECUTION_PROVIDER] `cuda`: a bundle that cannot run on it is refused. `auto`: CUDA where a graph lists it and
   * the machine has it, else the CPU. Default `auto`.
   */
  readonly executionProvider?: ProviderOption | undefined;
  /** [CUDA_DEVICE_ID] Index of the CUDA device. Default 0. */
  readonly cudaDevice?: number | undefined;
  /** [WORKERS] Inference processes. Default: one for each usable processor, which suits small models. */
  readonly workers?: number | undefined;
  /** [THREADS] Threads of each inference process. Default: usable processors / workers, rounded down, at least 1. */
  readonly threads?: number | undefined;
  /** [BATCH_TOKENS] Tokens of one batch, padding included. Default 192: larger ones fall out of the processor's caches. A GPU wants thousands. */
  readonly batchTokens?: number | undefined;
  /** [BATCH_WINDOWS] Windows of one batch. Default 64. */
  readonly batchWindows?: number | undefined;
  /**
   * [QUEUE_WAIT_MS] Milliseconds that an interactive request may have to wait as things stand; beyond it is
   * `overloaded`. Default 250.
   */
  readonly queueWaitMs?: number | undefined;
  /** [QUEUE_WINDOWS] Windows, and texts not yet tokenised, that may wait. Default 2048. */
  readonly queueWindows?: number | undefined;
  /** [QUEUE_TOKENS] Tokens that may wait. Default 65536. */
  readonly queueTokens?: number | undefined;
  /** [QUEUE_CHARACTERS] UTF-16 units that may wait for a tokenizer. Default 2,000,000. */
  readonly queueCharacters?: number | undefined;
  /** [ANSWER_TIMEOUT_MS] Milliseconds that a request may take which does not say so itself. Default 10000. */
  readonly answerTimeoutMs?: number | undefined;
  /** [CACHE_BYTES] Of answers that are kept for texts that come again, about; 0, the default, keeps none. */
  readonly cacheBytes?: number | undefined;
  /** [WORKER_TIMEOUT_MS] A child process that has not answered one batch after so many milliseconds is replaced. Default 30000. */
  readonly workerTimeoutMs?: number | undefined;
  /** [LOAD_TIMEOUT_MS] The same for loading a model. Default 120000. */
  readonly loadTimeoutMs?: number | undefined;
  readonly observer?: Partial<EngineObserver> | undefined;
}

/**
 * Starts the child processes, loads and tries every bundle, and resolves when what passed is being served.
 * A bundle that fails is in `refused()`; serving nothing is not an error of this function.
 *
 * @throws Error when `modelsDir` cannot be read
 * @throws ReferencesError when models are served and a setting names one that is not
 */
export async function createEngine(options: EngineOptions): Promise<Engine> {
  const cpus = usableCpus();
  const workers = options.workers ?? cpus;
  const threads = options.threads ?? Math.max(1, Math.floor(cpus / workers));
  const batchTokens = options.batchTokens ?? 192;
  const timeoutMs = options.workerTimeoutMs ?? 30_000;
  const loadTimeoutMs = options.loadTimeoutMs ?? 120_000;
  const observer = options.observer ?? {};

  const watch: ChildWatch = {
    started: (event) => observer.workerStarted?.(event),
    exited: (event) => observer.workerExited?.(event),
  };
  const pace = createPace();
  const scheduler = createScheduler<Item>({
    batchTokens,
    batchWindows: options.batchWindows ?? 64,
    pace,
  });
  const quarantine = createQuarantine();
  const quarantined = (model: string, sha256: string) => observer.quarantined?.({ model: nameOf(model), sha256 });
  const tokenizers = createTokenizers({ timeoutMs, loadTimeoutMs, watch, quarantine, quarantined });
  const cacheBytes = options.cacheBytes ?? 0;
  const answers = createAnswers({ scheduler, quarantine, quarantined, pace, cacheBytes, observer });
  const pool = createInferencePool<Item>({
    workers,
    timeoutMs,
    loadTimeoutMs,
    scheduler,
    events: {
      ...answers.events,
      taken(batch) {
        answers.events.taken(batch);
        tellDepth();
      },
    },
    unloadable(model, reason) {
      const [name = '', rest = ''] = model.split('@');
      const [version = ''] = rest.split('#');
      observer.unloadable?.({ name, version, reason });
    },
    watch,
  });
  let waking = false;
  function tellDepth(): void {
    const bulk = scheduler.waiting('bulk').windows;
    observer.depth?.(scheduler.windows, { interactive: scheduler.windows - bulk, bulk });
  }
  const admission = createAdmission({
    scheduler,
    untokenized: tokenizers.untokenized,
    pace,
    workers: () => pool.size,
    batchTokens,
    queueWaitMs: options.queueWaitMs ?? 250,
    queueWindows: options.queueWindows ?? 2048,
    queueTokens: options.queueTokens ?? 65_536,
    queueCharacters: options.queueCharacters ?? 2_000_000,
  });
  const requests = createRequests({
    admission,
    tokenizers,
    answers,
    answerTimeoutMs: options.answerTimeoutMs ?? 10_000,
    batchTokens,
    observer,
    changed() {
      if (waking) return;
      waking = true;
      queueMicrotask(() => {
        waking = false;
        pool.wake();
        tellDepth();
      });
    },
  });
  const endProcesses = () => Promise.all([tokenizers.close(), pool.close()]);

  let models: Models;
  try {
    // What reads bundles takes as long to load as the processes to start: they do it at the same time.
    const { createModels } = await import('./models.ts');
    const { modelsDir, executionProvider: provider = 'auto', cudaDevice = 0 } = options;
    const { defaultModel, aliases = new Map(), shadows = [] } = options;
    models = await createModels({
      modelsDir,
      references: { defaultModel, aliases, shadows },
      tokenizers,
      pool,
      graphs: { provider, cudaDevice, threads },
      batchTokens,
      observer,
    });
  } catch (error) {
    await endProcesses();
    throw error;
  }
  const classifyWith = (model: Model, request: ClassifyRequest) =>
    models.use(model, () => requests.classify(model, request));
  const shadows = createShadows({
    rules: options.shadows ?? [],
    find: models.find,
    waiting: () => scheduler.windows + untokenizedTexts(tokenizers),
    limit: workers,
    classify: classifyWith,
    observer,
  });

  let closing: Promise<void> | undefined;
  let inHand = 0;
  let emptied: (() => void) | undefined;

  /** @throws EngineError `unknown_model`, `shutting_down` */
  function modelOf({ model: reference }: ClassifyRequest): Model {
    if (closing !== undefined) throw new EngineError('shutting_down', 'The service is shutting down');
    const model = models.find(reference);
    if (model === undefined) throw unknownModel(reference, models.list());
    return model;
  }

  async function classifyEach(request: ClassifyRequest): Promise<Classification<TextOutcome>> {
    const model = modelOf(request);
    inHand++;
    try {
      const classification = await classifyWith(model, request);
      shadows.follow(model, request.texts, classification.results);
      return classification;
    } finally {
      inHand--;
      if (inHand === 0) emptied?.();
    }
  }

  return {
    models: models.list,
    refused: models.refused,
    defaultModel: () => models.find(undefined)?.served,
    find: (reference) => models.find(reference)?.served,
    aliases: models.aliases,
    repository: models.repository,
    reload: models.reload,
    load: models.load,
    unload: models.unload,
    ready: () => closing === undefined && models.list().length > 0 && tokenizers.running && pool.running,
    admit: (request) => requests.admit(modelOf(request), request),
    classifyEach,
    async classify(request) {
      return allOrNothing(await classifyEach({ ...request, needed: request.texts.length }));
    },
    close() {
      closing ??= (async () => {
        if (inHand > 0)
          await new Promise<void>((resolve) => {
            emptied = resolve;
          });
        shadows.close();
        await Promise.all([models.close(), endProcesses()]);
      })();
      return closing;
    },
  };
}

const untokenizedTexts = ({ untokenized }: Tokenizers) =>
  untokenized('short').texts + untokenized('long').texts + untokenized('bulk').texts;

/** @throws EngineError of the first text that has no answer */
function allOrNothing({ results, ...rest }: Classification<TextOutcome>): Classification {
  return {
    ...rest,
    results: results.map((outcome) => {
      if (outcome instanceof EngineError) throw outcome;
      return outcome;
    }),
  };
}

function unknownModel(name: string | undefined, served: readonly ServedModel[]): EngineError {
  const choice = served.length > 0 ? `served are ${served.map(({ name }) => name).join(', ')}` : 'none is served';
  return new EngineError(
    'unknown_model',
    `${name === undefined ? 'No default model is served' : 'No such model'}: ${choice}`,
  );
}
