#!/usr/bin/env node
/** `dslora-classify`: a table in, the same with answers out (docs/bulk.md). */
import { stat } from 'node:fs/promises';
import { constants } from 'node:os';

import { type Config, ConfigError, loadConfig } from '../config.ts';
import { CalibrationError } from '../engine/calibration-error.ts';
import { sizeConfig } from '../sized-config.ts';
import { answerColumns } from './bulk/answer-columns.ts';
import type { Classifier } from './bulk/classifier.ts';
import { createEngineClassifier } from './bulk/engine-classifier.ts';
import { BulkError, EXIT, explain, refuse } from './bulk/failure.ts';
import { openFileOutput } from './bulk/file-output.ts';
import { formatOf, openTable } from './bulk/formats.ts';
import { inputIdentity } from './bulk/input-identity.ts';
import type { Progress } from './bulk/journal.ts';
import { help, type Options, readOptions } from './bulk/options.ts';
import type { Output } from './bulk/output.ts';
import { count, duration, reportProgress } from './bulk/progress.ts';
import { run } from './bulk/run.ts';
import { openStreamOutput } from './bulk/stream-output.ts';

const stop = new AbortController();
let signalled: NodeJS.Signals | undefined;
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, endWith);

try {
  const options = readOptions(process.argv.slice(2));
  if (options === undefined) process.stdout.write(help());
  else await classifyTable(options);
} catch (error) {
  say(explain(error));
  process.exitCode = error instanceof BulkError ? error.exitCode : EXIT.failed;
}

async function classifyTable(options: Options): Promise<void> {
  const format = formatOf(options.format, options.input);
  await requireInput(options);
  const config = await readConfig(options);
  const classifier = await createClassifier(options, config);
  const { model } = classifier;
  try {
    const answers = answerColumns(model, options);
    const table = await openTable(format, {
      path: options.input,
      textColumn: options.textColumn,
      delimiter: options.delimiter,
      answers,
    });
    const output = await openOutput(options, table.head(), {
      [options.input === undefined ? 'standard input, which cannot be read twice' : 'the input file']:
        await inputIdentity(options.input),
      'the model': [model.name, model.version, model.createdAt],
      '--format': format,
      '--text-column': options.textColumn,
      '--delimiter': options.delimiter,
      '--threshold': options.threshold,
      '--policy': options.policy,
      'the new columns': answers.map(({ name }) => name),
      '--max-text-chars': config.maxTextChars,
    });
    const begun = output.progress;
    if (begun.rows > 0) say(`Going on after ${count(begun.rows)} rows.`);
    const progress = reportProgress(
      options.quiet ? { write: () => true, isTTY: false } : process.stderr,
      table.size,
      begun,
    );
    const started = performance.now();
    try {
      const { maxTextChars } = config;
      const { strict, checkpointMs } = options;
      const whole = await run({
        table,
        classifier,
        output,
        answers,
        maxTextChars,
        checkpointMs,
        strict,
        progress,
        stop: stop.signal,
      });
      progress.end();
      say(summary(output.progress, begun, (performance.now() - started) / 1000));
      if (!whole) say(howToGoOn(options, output));
    } catch (error) {
      progress.end();
      throw new BulkError(
        error instanceof BulkError ? error.exitCode : EXIT.failed,
        `Broken off after ${count(output.progress.rows)} rows: ${explain(error)}\n${howToGoOn(options, output)}`,
        { cause: error },
      );
    } finally {
      await output.close();
      await table.close();
    }
    if (signalled !== undefined) process.exitCode = 128 + constants.signals[signalled];
  } finally {
    await classifier.close();
  }
}

async function requireInput({ input, output }: Options): Promise<void> {
  if (input === undefined) return;
  const found = await stat(input).catch(() => refuse(`${input} cannot be read: name a file that exists.`));
  if (found.isDirectory()) refuse(`${input} is a folder: name a file.`);
  const same = output === undefined ? undefined : await stat(output).catch(() => undefined);
  if (same?.ino === found.ino && same.dev === found.dev)
    refuse('Input and output are the same file: name another output.');
}

async function readConfig(options: Options): Promise<Config> {
  try {
    const config = loadConfig(process.env);
    const { modelsDir = config.modelsDir, maxTextChars = config.maxTextChars } = options;
    const chosen = { ...config, modelsDir, maxTextChars };
    return options.url === undefined ? (await sizeConfig(chosen, process.env)).config : chosen;
  } catch (error) {
    if (error instanceof ConfigError) return refuse(`These settings are wrong:\n${error.message}`);
    if (error instanceof CalibrationError) return refuse(`CALIBRATION_FILE is wrong: ${error.message}.`);
    throw error;
  }
}

async function createClassifier(options: Options, config: Config): Promise<Classifier> {
  const { url, model, policy, threshold, gates, concurrency } = options;
  const asked = { model, policy, threshold, gates };
  if (url === undefined) {
    return createEngineClassifier(config, { ...asked, policiesDir: options.policiesDir ?? config.policiesDir });
  }
  // Only who asks a service needs its client.
  const { createServiceClassifier } = await import('./bulk/service-classifier.ts');
  return createServiceClassifier({ ...asked, url, concurrency, apiKey: process.env.DSLORA_API_KEY });
}

function openOutput(options: Options, head: Uint8Array, job: Record<string, unknown>): Promise<Output> {
  const { output: path, bad, overwrite } = options;
  if (path === undefined) return openStreamOutput(process.stdout, head, bad);
  return openFileOutput({ path, badPath: bad ?? `${path}.bad.jsonl`, overwrite, job, head });
}

function summary(progress: Progress, begun: Progress, seconds: number): string {
  const bad = Object.entries(progress.bad);
  const total = bad.reduce((sum, [, rows]) => sum + rows, 0);
  const reasons = bad.map(([problem, rows]) => `${problem} ${count(rows)}`).join(', ');
  const rate = Math.round((progress.rows - begun.rows) / seconds);
  return (
    `${count(progress.rows)} rows: ${count(progress.rows - total)} answered, ${count(progress.flagged)} flagged, ` +
    `${count(total)} without an answer${total > 0 ? ` (${reasons})` : ''}; ${duration(seconds)}, ${count(rate)} rows/s.`
  );
}

function howToGoOn({ input, output }: Options, { progress }: Output): string {
  if (output === undefined || input === undefined)
    return 'Nothing can go on from here: name an input and an --output file for that.';
  return `${count(progress.rows)} rows are safe. The same command goes on from there.`;
}

function endWith(signal: NodeJS.Signals): void {
  if (signalled !== undefined || stop.signal.aborted) process.exit(128 + constants.signals[signal]);
  signalled = signal;
  say('Ending after the rows in hand; once more to end at once.');
  stop.abort();
}

function say(message: string): void {
  process.stderr.write(`${message}\n`);
}
