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
    super(message);
    this.code = code;
    this.index = details.index;
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** A bundle that passed every check and is being served. */
export interface ServedModel {
  readonly name: string;
  readonly version: string;
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
}

export interface Classification<Result = TextResult> {
  readonly model: ServedModel;
  /** One for each text, in order. */
  readonly results: readonly Result[];
  readonly timing: Timing;
}

/** What became of one text where each stands for itself. */
export type TextOutcome = TextResult | EngineError;

/** Told about work as it happens; metrics are recorded from it. Must not throw. */
export interface EngineObserver {
  tokenized(event: { model: string; texts: number; tokens: number; seconds: number }): void;
  queued(event: { model: string; seconds: number }): void;
  batch(event: { model: string; windows: number; tokens: number; paddedTokens: number; seconds: number }): void;
  /** Windows waiting now, over all models. */
  depth(windows: number): void;
  /** A child process was started or replaced. */
  workerStarted?(event: { role: string; pid: number | undefined }): void;
  workerExited(event: { role: string; code: number | null; signal: string | null; expected: boolean }): void;
}

export interface Engine {
  /** Every version of every model that is served, by name and then newest first. */
  models(): readonly ServedModel[];
  refused(): readonly RefusedBundle[];
  /** The model that answers when a request names none; undefined when none is served. */
  defaultModel(): ServedModel | undefined;
  /** The model that a reference means: name (its newest version), alias or `name@version`; the default if absent. */
  find(reference: string | undefined): ServedModel | undefined;
  /** True while at least one model is served and its workers run. */
  ready(): boolean;
  /**
   * Classifies texts with one model. Rejects with an EngineError; the first text at fault decides.
   */
  classify(request: ClassifyRequest): Promise<Classification>;
  /**
   * As `classify`, but texts fail alone. Rejects only with what concerns the whole request: `unknown_model`,
   * `overloaded`, `shutting_down`, the signal's reason.
   */
  classifyEach(request: ClassifyRequest): Promise<Classification<TextOutcome>>;
  /** Answers what is in hand, then ends the workers. */
  close(): Promise<void>;
}
