/** The command line of `dslora-classify`. */
import { parseArgs } from 'node:util';

import { USES } from '../../moderation/policy.ts';
import { GATE_VIEWS } from './answer-columns.ts';
import type { ClassifierOptions } from './classifier.ts';
import { explain, refuse } from './failure.ts';
import { FORMAT_NAMES, type FormatName } from './formats.ts';

interface Flag {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly value?: string;
  readonly doc: string;
}

const FLAGS = {
  output: { type: 'string', short: 'o', value: 'FILE', doc: 'Where rows go; standard output without it' },
  format: { type: 'string', value: FORMAT_NAMES.join('|'), doc: 'Of input and output; else by the name' },
  'text-column': { type: 'string', value: 'NAME', doc: 'Column with the texts (text)' },
  prefix: { type: 'string', value: 'TEXT', doc: 'Put before the names of new columns' },
  delimiter: { type: 'string', value: 'CHAR', doc: 'Between the fields of CSV (,)' },
  model: { type: 'string', value: 'NAME', doc: 'Model that answers; else the default one' },
  threshold: { type: 'string', value: 'VALUE', doc: `0 to 1, or ${USES.join(', ')} (balanced)` },
  gates: { type: 'string', value: GATE_VIEWS.join('|'), doc: 'Gate columns: each module, their mean, none (mean)' },
  policy: { type: 'string', value: 'NAME', doc: 'Adds `decision`: what this policy makes of the text' },
  'policies-dir': { type: 'string', value: 'DIR', doc: 'Folder of policies (POLICIES_DIR)' },
  'models-dir': { type: 'string', value: 'DIR', doc: 'Folder of bundles (MODELS_DIR, else models)' },
  url: { type: 'string', value: 'URL', doc: 'Ask this service; without it, models run in this process' },
  concurrency: { type: 'string', value: 'N', doc: 'Requests to the service at the same time (8)' },
  'max-text-chars': { type: 'string', value: 'N', doc: 'Longest text in code points (MAX_TEXT_CHARS, else 20000)' },
  checkpoint: { type: 'string', value: 'SECONDS', doc: 'Between checkpoints: what a kill may cost (2)' },
  bad: { type: 'string', value: 'FILE', doc: 'Rows without an answer (OUTPUT.bad.jsonl)' },
  strict: { type: 'boolean', doc: 'A row without an answer ends the run' },
  overwrite: { type: 'boolean', doc: 'Replace an output that exists, and a run that cannot go on' },
  quiet: { type: 'boolean', short: 'q', doc: 'No progress' },
  help: { type: 'boolean', short: 'h', doc: 'This text' },
} as const satisfies Record<string, Flag>;

export interface Options extends ClassifierOptions {
  /** undefined: standard input. */
  readonly input: string | undefined;
  /** undefined: standard output. */
  readonly output: string | undefined;
  readonly format: FormatName | undefined;
  readonly textColumn: string;
  readonly prefix: string;
  readonly delimiter: string;
  readonly modelsDir: string | undefined;
  readonly policiesDir: string | undefined;
  readonly url: string | undefined;
  readonly concurrency: number;
  readonly maxTextChars: number | undefined;
  /** Between checkpoints. */
  readonly checkpointMs: number;
  readonly bad: string | undefined;
  readonly strict: boolean;
  readonly overwrite: boolean;
  readonly quiet: boolean;
}

/**
 * @returns undefined when only help is wanted
 * @throws BulkError that says what is wrong
 */
export function readOptions(args: readonly string[]): Options | undefined {
  const { values, positionals } = parse(args);
  if (values.help) return undefined;
  if (positionals.length > 1) refuse(`One input is expected, got ${positionals.length}. See --help.`);
  const [input] = positionals;
  const { delimiter = ',', 'max-text-chars': maxTextChars } = values;
  if (delimiter.length !== 1 || /["\r\n]/.test(delimiter)) refuse('--delimiter must be one character.');
  return {
    input: input === '-' ? undefined : input,
    output: values.output === '-' ? undefined : values.output,
    format: choice('format', values.format, FORMAT_NAMES),
    textColumn: values['text-column'] ?? 'text',
    prefix: values.prefix ?? '',
    delimiter,
    model: values.model,
    threshold: readThreshold(values.threshold ?? 'balanced'),
    gates: choice('gates', values.gates, GATE_VIEWS) ?? 'mean',
    policy: values.policy,
    modelsDir: values['models-dir'],
    policiesDir: values['policies-dir'],
    url: values.url,
    concurrency: wholeNumber('concurrency', values.concurrency ?? '8'),
    maxTextChars: maxTextChars === undefined ? undefined : wholeNumber('max-text-chars', maxTextChars),
    checkpointMs: 1000 * seconds('checkpoint', values.checkpoint ?? '2'),
    bad: values.bad,
    strict: values.strict ?? false,
    overwrite: values.overwrite ?? false,
    quiet: values.quiet ?? false,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: FLAGS, allowPositionals: true });
  } catch (error) {
    return refuse(`${explain(error)} See --help.`);
  }
}

function choice<T extends string>(name: string, value: string | undefined, choices: readonly T[]): T | undefined {
  if (value === undefined) return undefined;
  return (
    choices.find((one) => one === value) ?? refuse(`--${name} must be one of ${choices.join(', ')}, got ${value}.`)
  );
}

function wholeNumber(name: string, value: string): number {
  if (/^[1-9]\d{0,8}$/.test(value)) return Number(value);
  return refuse(`--${name} must be a whole number from 1, got ${value}.`);
}

function seconds(name: string, value: string): number {
  if (/^\d{1,6}(\.\d+)?$/.test(value)) return Number(value);
  return refuse(`--${name} must be a number of seconds, got ${value}.`);
}

function readThreshold(value: string): Options['threshold'] {
  const use = USES.find((one) => one === value);
  if (use !== undefined) return use;
  const number = Number(value);
  if (value.trim() !== '' && number >= 0 && number <= 1) return number;
  return refuse(`--threshold must be a number from 0 to 1, or one of ${USES.join(', ')}, got ${value}.`);
}

export function help(): string {
  const rows = Object.entries<Flag>(FLAGS).map(([name, { short, value, doc }]) => {
    const usage = `${short === undefined ? '    ' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`;
    return usage.length > 33 ? `  ${usage}\n  ${' '.repeat(34)}${doc}` : `  ${usage.padEnd(34)}${doc}`;
  });
  return `dslora-classify [INPUT] [-o OUTPUT]

Classifies the texts of a table: CSV, TSV, JSON Lines or Parquet in, the same with answers out.
Without INPUT, or with -, it reads standard input. A run that was broken off goes on with the same command.

${rows.join('\n')}

Exit codes: 0 done, 1 broken off, 2 nothing was begun, 3 a bad row with --strict, 128 + n ended by signal n.
More: docs/bulk.md
`;
}
