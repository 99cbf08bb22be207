/** A part of the benchmark that can be asked for by name. */
import { fileURLToPath } from 'node:url';

import type { Bench } from './measurement.ts';
import type { Conditions } from './report.ts';

export interface CommandOptions {
  readonly bench: Bench;
  readonly conditions: Conditions;
  /** Names of rows; all without it. */
  readonly only: readonly string[] | undefined;
  /** Keeps what was made in docs/performance. */
  readonly save: boolean;
  /** Tells whoever waits how far it is. */
  say(line: string): void;
}

/** What one run of the benchmark makes. */
export interface Outcome {
  /** For people. */
  readonly text: string;
  /** For machines. */
  readonly json: unknown;
}

export type Command = (options: CommandOptions) => Promise<Outcome>;

/** A file of docs/performance. */
export function keptFile(name: string): string {
  return fileURLToPath(new URL(`../docs/performance/${name}`, import.meta.url));
}
