/**
 * What the engine promises to whoever calls it: texts in, probabilities and gates out.
 * Nothing here knows HTTP, ONNX or processes.
 */
import type { Manifest } from '../bundle/manifest.ts';

/** Why one text, or a whole request, has no answer. HTTP statuses are the API's business. */
export type EngineErrorCode =
  /** The text holds a lone surrogate. */
  | 'invalid_unicode'
  /** Nothing is left of the text after normalisation. */
  | 'empty_after_normalization'
  /** No served model has that name, alias or version. */
  | 'unknown_model'
  /** More is waiting than the queue admits. */
  | 'overloaded'
  /** The request's time was over before the text was answered. */
  | 'deadline_exceeded'
  /** The worker that held the text died or failed twice. */
  | 'inference_failed'
  /** The text has ended worker processes before and is not run again. */
  | 'quarantined'
  /** The engine is closing. */
  | 'shutting_down';

export class EngineError extends Error {
  override readonly name = 'EngineError';
  readonly code: EngineErrorCode;
  /** Position of the text at fault in the request, when there is one. */
  readonly index: number | undefined;
  /** Milliseconds after which another try may succeed; with `overloaded`, from the measured drain rate. */
  readonly retryAfterMs: number | undefined;

  constructor(code: EngineErrorCode, message: string, details: { index?: number; retryAfterMs?: number } = {}) {
    // An outcome and no mistake: nobody reads its stack, and taking one was a tenth of what a refusal cost.
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(message);
    Error.stackTraceLimit = limit;
    this.code = code;
    this.index = details.index;
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** Why what is served cannot be changed as asked. */
export type ModelChangeErrorCode =
  /** MODELS_DIR has no folder of that name that holds a bundle. */
  | 'unknown_bundle'
  /** No served model has that name, alias or version. */
  | 'unknown_model'
  /** The model cannot be unloaded: a setting names it, or it is the last one. */
  | 'model_needed'
  /** The engine is closing. */
  | 'shutting_down';

/** Its message holds no text of a user and may be shown to whoever administrates the service. */
export class ModelChangeError extends Error {
  override readonly name = 'ModelChangeError';
  readonly code: ModelChangeErrorCode;

  constructor(code: ModelChangeErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** A bundle that passed every check and is being served. */
export interface ServedModel {
  readonly name: string;
  readonly version: string;
  /** Folder in MODELS_DIR. */
  readonly folder: string;
  /** First 12 hexadecimal digits of the SHA-256 of `manifest.json`, which states the checksum of every other file. */
  readonly digest: string;
  readonly manifest: Manifest;
  /** File name of the graph that runs, and the provider that really runs it. */
  readonly graph: string;
  readonly executionProvider: 'cpu' | 'cuda';
}

/** A folder in MODELS_DIR that is not served, and why. */
export interface RefusedBundle {
  readonly folder: string;
  readonly reason: string;
}

/** A folder in MODELS_DIR that holds a bundle, served or not. */
export interface RepositoryEntry {
  readonly folder: string;
  /** Absent when its manifest could not be read. */
  readonly name?: string;
  readonly version?: string;
  readonly state: 'ready' | 'unavailable';
  /** Why it is unavailable: refused, or unloaded by request. With `ready`: why its present content is not what serves. */
  readonly reason?: string;
}

/** What became of one bundle when what is served was to change. */
export interface BundleOutcome {
  readonly folder: string;
  /** Absent when its manifest could not be read. */
  readonly name?: string;
  readonly version?: string;
  /**
   * - `loaded`: serves from now on, in place of an earlier content of the folder if there was one
   * - `unchanged`: was as it should be
   * - `unloaded`: serves no more
   * - `kept`: should be unloaded and is not, because something needs it
   * - `refused`: is not served; what the folder served before goes on serving
   */
  readonly outcome: 'loaded' | 'unchanged' | 'unloaded' | 'kept' | 'refused';
  /** With `refused` and `kept`. Holds no text of a user. */
  readonly reason?: string;
}

export interface ReloadReport {
  /** One for each folder that holds or held a bundle, in order of folder. */
  readonly bundles: readonly BundleOutcome[];
  readonly seconds: number;
}

export interface WindowResult {
  /** Token count, special tokens included. */
  readonly tokens: number;
  /** In the order of `manifest.labels`. */
  readonly probabilities: readonly number[];
  /** In the order of `manifest.gates`. */
  readonly gates: readonly number[];
}

/** The combined answer of a text (docs/bundle.md, "From text to tokens", step 6) and its windows. */
export interface TextResult extends WindowResult {
  readonly windows: readonly WindowResult[];
}

/** Milliseconds. Of a request with several texts: the longest wait, and the sums of its shares of work. */
export interface Timing {
  readonly queueMs: number;
  readonly tokenizeMs: number;
  readonly inferenceMs: number;
}

export type Priority = 'interactive' | 'bulk';

/**
 * Why something was not taken on: what waits ahead takes too long (`wait`), one of the bounds of the queue is reached,
 * or the text is `quarantined`.
 */
export type RefusalReason = 'wait' | 'windows' | 'tokens' | 'characters' | 'quarantined';

export interface ClassifyRequest {
  /** Name, alias or `name@version`; the default model if absent. */
  readonly model?: string | undefined;
  readonly texts: readonly string[];
  /** An aborted signal frees what still waits. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds from now after which nobody waits for the answer. Default: the engine's. */
  readonly timeoutMs?: number | undefined;
  /** Bulk work never delays interactive work by more than one batch. Default `interactive`. */
  readonly priority?: Priority | undefined;
  /**
   * Of `classifyEach`: so many texts, from the first on, must all have an answer, and the first of them without one
   * rejects the request; before anything is inferred where the text itself is at fault. Default 0.
   */
  readonly needed?: number | undefined;
}

export interface Classification<Result = TextResult> {
  readonly model: ServedModel;
  /** One for each text, in order. */
  readonly results: readonly Result[];
  readonly timing: Timing;
}

/** When the stages of one request began and ended, comparable with `performance.now()`; absent ones were not reached. */
export interface RequestStages {
  readonly begunMs: number;
  readonly admittedMs: number;
  /** All texts were tokenised, and offered to the workers. */
  readonly tokenizedMs: number | undefined;
  /** The last window that is known of was taken by a worker. */
  readonly queuedMs: number | undefined;
  /** The first window was taken by a worker. */
  readonly ranMs: number | undefined;
  readonly endedMs: number;
  /** As far as the request came. */
  readonly timing: Timing;
}

/** What became of one text where each stands for itself. */
export type TextOutcome = TextResult | EngineError;

/** Told about work as it happens; metrics are recorded from it. Must not throw. */
export interface EngineObserver {
  /**
   * A request was taken on. Called within the asynchronous context of whoever asked.
   *
   * @returns a function that is told when the request is over, however it ended
   */
  asked?(event: { model: string; texts: number }): ((stages: RequestStages) => void) | undefined;
  tokenized(event: { model: string; texts: number; tokens: number; seconds: number }): void;
  queued(event: { model: string; seconds: number }): void;
  batch(event: { model: string; windows: number; tokens: number; paddedTokens: number; seconds: number }): void;
  /** Windows waiting now, over all models: all, and those of each priority. */
  depth(windows: number, byPriority: Readonly<Record<Priority, number>>): void;
  /** A request, or with `quarantined` a text, was not taken on. */
  refused?(event: { model: string; priority: Priority; reason: RefusalReason }): void;
  /** Texts were given up because their deadline had passed, or could not be kept any more. */
  late?(event: { model: string; texts: number }): void;
  /** A text's answer is computed, is being computed for somebody else, or was kept from before. */
  answered?(event: { model: string; source: 'computed' | 'shared' | 'cached' }): void;
  /** A text has ended two processes; it is known by the SHA-256 of the model's key and what the process was given. */
  quarantined?(event: { model: string; sha256: string }): void;
  /** A child process was started or replaced. */
  workerStarted?(event: { role: string; pid: number | undefined }): void;
  workerExited(event: { role: string; code: number | null; signal: string | null; expected: boolean }): void;
  /** At start: all bundles are read, and child processes begin to try them. */
  trying?(): void;
  /** A bundle was loaded, refused, unloaded or kept; also at start. */
  bundle?(event: BundleOutcome): void;
  /** A process that was restarted cannot load what is served: its files were written over. Others may still have it. */
  unloadable?(event: { name: string; version: string; reason: string }): void;
  /** What is served was brought up to date, in so many seconds; also when nothing changed. */
  reloaded?(event: ReloadReport): void;
  /** A text was, or was not, classified by a second model too. */
  shadowed?(event: ShadowEvent): void;
}

/** One text of the traffic of `model` that was meant for `shadow` as well. */
export interface ShadowEvent {
  readonly model: ServedModel;
  readonly shadow: ServedModel;
  /** `dropped`: other work waited. `failed`: the shadow had no answer. */
  readonly outcome: 'compared' | 'dropped' | 'failed';
  /** Where the answers were compared. */
  readonly divergence?: Divergence | undefined;
}

/** How far two answers to one text are apart. */
export interface Divergence {
  /** The most probable classes differ; undefined when the two models have other labels. */
  readonly labelFlip: boolean | undefined;
  /** One would be flagged at its own balanced threshold, and the other not. */
  readonly flagFlip: boolean;
  /** Mean absolute difference over the labels; undefined when the two models have other labels. */
  readonly probabilities: number | undefined;
  /** Mean absolute difference over the gate columns; undefined when the two models have other columns, or none. */
  readonly gates: number | undefined;
}

export interface Engine {
  /** Every version of every model that is served, by name and then newest first. */
  models(): readonly ServedModel[];
  refused(): readonly RefusedBundle[];
  /** The model that answers when a request names none; undefined when none is served. */
  defaultModel(): ServedModel | undefined;
  /**
   * The model that a reference means: an alias, `name@version`, or a name (its newest version by `createdAt`), looked up
   * in this order; the default if absent.
   */
  find(reference: string | undefined): ServedModel | undefined;
  /** What each alias means. */
  aliases(): ReadonlyMap<string, ServedModel>;
  /** Every folder of MODELS_DIR that holds a bundle, as last looked at, in order of folder. */
  repository(): readonly RepositoryEntry[];
  /**
   * Makes what is served equal to what MODELS_DIR holds, while serving: new and changed bundles are checked, tried and
   * warmed and then switched to; those that are gone are unloaded. Folders unloaded by request stay unloaded.
   *
   * @throws Error when MODELS_DIR cannot be read; ModelChangeError `shutting_down`
   */
  reload(): Promise<ReloadReport>;
  /**
   * Loads one folder, also one that was unloaded by request; a bad bundle is an outcome, not an error.
   *
   * @param folder name as `repository` has it
   * @throws ModelChangeError `unknown_bundle`, `shutting_down`
   */
  load(folder: string): Promise<BundleOutcome>;
  /**
   * Stops serving one model; what is in hand is answered first. It stays unloaded until it is loaded by request.
   *
   * @throws ModelChangeError `unknown_model`, `model_needed`, `shutting_down`
   */
  unload(reference: string): Promise<BundleOutcome>;
  /** True while at least one model is served and its workers run. */
  ready(): boolean;
  /**
   * What `classify` would reject this request with as things stand, in microseconds: to be asked before work is spent
   * on preparing it. Refusals are counted.
   *
   * @throws EngineError `unknown_model`, `overloaded`, `shutting_down`
   */
  admit(request: ClassifyRequest): void;
  /**
   * Classifies texts with one model. Rejects with an EngineError; the first text at fault decides.
   */
  classify(request: ClassifyRequest): Promise<Classification>;
  /**
   * As `classify`, but texts fail alone, beyond those that are `needed`. Rejects otherwise only with what concerns the whole request: `unknown_model`,
   * `overloaded`, `shutting_down`, the signal's reason.
   */
  classifyEach(request: ClassifyRequest): Promise<Classification<TextOutcome>>;
  /** Answers what is in hand, then ends the workers. */
  close(): Promise<void>;
}
