/**
 * What the service's process and its children say to each other.
 *
 * Every call has a job number and one reply. Token ids travel as typed arrays, concatenated, which the channel copies
 * as bytes. Failures carry a reason that never holds text.
 */
import type { NormalizationStep } from './normalize.ts';

export type Role = 'tokenizer' | 'inference';

export type ExecutionProvider = 'cpu' | 'cuda';

/** A file as it was when its checksum was verified; another one in its place is not loaded. */
export interface FileStamp {
  readonly path: string;
  /** A path that leads to the file even when it was replaced or removed; tried first. */
  readonly held: string | undefined;
  readonly size: number;
  readonly modifiedMs: number;
}

// Tokenizer

export interface LoadTokenizer {
  readonly type: 'load-tokenizer';
  /** Name the model is called by from now on. */
  readonly model: string;
  /** Bundles with equal tokenizer files share one in memory. */
  readonly identity: string;
  readonly tokenizer: FileStamp;
  readonly config: FileStamp;
  readonly normalization: readonly NormalizationStep[];
}

export interface Tokenize {
  readonly type: 'tokenize';
  readonly model: string;
  readonly texts: readonly string[];
  /** Asks for the normalised texts as well: golden vectors compare them. */
  readonly normalized: boolean;
}

/** In `Tokenized.counts`: the text is refused. */
export const INVALID_UNICODE = -1;
export const EMPTY = -2;

export interface Tokenized {
  /** int32 [texts]: number of ids of each text, without special tokens, or why it is refused. */
  readonly counts: Int32Array;
  /** int32 [sum of counts] */
  readonly ids: Int32Array;
  /** One for each text, empty where refused; only when asked for. */
  readonly normalized: readonly string[] | undefined;
  readonly seconds: number;
}

// Inference

export interface GraphChoice {
  readonly graph: FileStamp;
  readonly externalData: readonly FileStamp[];
  readonly executionProvider: ExecutionProvider;
}

export interface LoadGraph {
  readonly type: 'load-graph';
  readonly model: string;
  /** Tried in order; the first that can be created is used. */
  readonly choices: readonly GraphChoice[];
  readonly threads: number;
  /** Which CUDA device runs a choice that wants CUDA. */
  readonly cudaDevice: number;
  readonly padId: number;
  /** Of the longest window. */
  readonly maxTokens: number;
  /** Columns of the outputs. */
  readonly labels: number;
  readonly gates: number;
}

export interface GraphLoaded {
  /** Index into `choices`. */
  readonly choice: number;
}

export interface Run {
  readonly type: 'run';
  readonly model: string;
  /** int32 [rows]: tokens of each window */
  readonly lengths: Int32Array;
  /** int32 [sum of lengths]: the windows' ids, unpadded */
  readonly ids: Int32Array;
}

export interface Ran {
  /** float32 [rows, labels] */
  readonly probabilities: Float32Array;
  /** float32 [rows, gates] */
  readonly gates: Float32Array;
  readonly seconds: number;
}

/** Frees a model's session. */
export interface UnloadGraph {
  readonly type: 'unload-graph';
  readonly model: string;
}

// Both

type Nothing = Record<string, never>;

export interface Replies {
  'load-tokenizer': Nothing;
  tokenize: Tokenized;
  'load-graph': GraphLoaded;
  run: Ran;
  'unload-graph': Nothing;
}

export type Request = LoadTokenizer | Tokenize | LoadGraph | Run | UnloadGraph;

export interface Call {
  readonly job: number;
  readonly request: Request;
}

export type Reply =
  | { readonly job: number; readonly value: Replies[keyof Replies] }
  | { readonly job: number; readonly failed: string };

/** Answers one call in a child. A Refusal that it throws is reported with its message, anything else without. */
export type Handler = (request: Request) => Replies[keyof Replies] | Promise<Replies[keyof Replies]>;
