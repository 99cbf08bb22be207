/**
 * Rows from a table through a classifier to an output, in order.
 *
 * Some chunks are always on their way, so that the classifier never waits for a file; how many is bounded by texts, so
 * that a slow classifier holds up the reading and not the memory.
 */
import type { AnswerColumn, Cells } from './answer-columns.ts';
import type { Classifier, Outcome } from './classifier.ts';
import { BulkError, EXIT } from './failure.ts';
import type { BadRow, Output } from './output.ts';
import type { ProgressReport } from './progress.ts';
import { type Chunk, type Item, ROW_PROBLEMS, type RowProblem, type Table } from './table.ts';

export interface RunOptions {
  readonly table: Table;
  readonly classifier: Classifier;
  readonly output: Output;
  readonly answers: readonly AnswerColumn[];
  /** Unicode code points of the longest text that is classified. */
  readonly maxTextChars: number;
  /** Milliseconds between checkpoints: what a kill costs at most, and how often the disk is waited for. */
  readonly checkpointMs: number;
  /** A row without an answer ends the run. */
  readonly strict: boolean;
  readonly progress: ProgressReport;
  /** Aborted to end after the chunk in hand. */
  readonly stop: AbortSignal;
}

/** Texts that may be on their way. More let the scheduler find more of the same length, up to a point. */
const TEXTS_AHEAD = 4096;
/** Chunks that are, however large. */
const CHUNKS_AHEAD = 2;

/** @returns whether the input was read to its end */
export async function run(options: RunOptions): Promise<boolean> {
  const { table, output, stop } = options;
  const cancel = new AbortController();
  const ahead: { readonly chunk: Chunk; readonly outcomes: Promise<readonly Outcome[]> }[] = [];
  const source = table.chunks(output.progress.input)[Symbol.asyncIterator]();
  let ended = false;
  let waiting = 0;
  let checkpointed = performance.now();

  async function fill(): Promise<void> {
    while (!ended && !stop.aborted && (ahead.length < CHUNKS_AHEAD || waiting < TEXTS_AHEAD)) {
      const { done, value: chunk } = await source.next();
      if (done) ended = true;
      else {
        waiting += chunk.items.length;
        const outcomes = classifyChunk(chunk.items, options, cancel.signal).finally(() => {
          waiting -= chunk.items.length;
        });
        // Looked at in its turn.
        outcomes.catch(() => {});
        ahead.push({ chunk, outcomes });
      }
    }
  }

  try {
    for (;;) {
      await fill();
      const next = ahead.shift();
      if (next === undefined) break;
      await write(next.chunk, await next.outcomes, options);
      options.progress.update(output.progress);
      if (stop.aborted) break;
      if (performance.now() - checkpointed < options.checkpointMs) continue;
      await output.checkpoint();
      checkpointed = performance.now();
    }
  } catch (error) {
    // What was written before it is safe, if the disk still takes it.
    await output.checkpoint().catch(() => {});
    throw error;
  } finally {
    cancel.abort();
  }
  const whole = ended && ahead.length === 0;
  if (whole) await output.finish(table.foot);
  else await output.checkpoint();
  return whole;
}

async function classifyChunk(
  items: readonly Item[],
  { classifier, maxTextChars }: RunOptions,
  signal: AbortSignal,
): Promise<readonly Outcome[]> {
  const texts = items.map((item) => ('text' in item && !isLonger(item.text, maxTextChars) ? item.text : undefined));
  const asked = texts.filter((text) => text !== undefined);
  const answered = await Promise.all(requests(asked, classifier).map((part) => classifier.classify(part, signal)));
  const answers = answered.flat().values();
  return items.map((item, i) => {
    if (texts[i] !== undefined) return answers.next().value as Outcome;
    return failed('problem' in item ? item.problem : 'text_too_long');
  });
}

function requests(texts: readonly string[], { limits }: Classifier): string[][] {
  const parts: string[][] = [];
  let part: string[] = [];
  let characters = 0;
  for (const text of texts) {
    if (part.length > 0 && (part.length === limits.texts || characters + text.length > limits.characters)) {
      parts.push(part);
      part = [];
      characters = 0;
    }
    part.push(text);
    characters += text.length;
  }
  if (part.length > 0) parts.push(part);
  return parts;
}

async function write(chunk: Chunk, outcomes: readonly Outcome[], options: RunOptions): Promise<void> {
  const { output, answers, strict } = options;
  const bad: BadRow[] = [];
  let flagged = 0;
  const cells = outcomes.map((outcome, i): Cells | undefined => {
    if ('error' in outcome) {
      bad.push({ row: output.progress.rows + i + 1, problem: problemOf(outcome.error.code) });
      return undefined;
    }
    if (outcome.flagged) flagged++;
    return answers.map((column) => column.read(outcome));
  });
  const [first] = bad;
  if (strict && first !== undefined) {
    throw new BulkError(EXIT.badRow, `Row ${first.row} has no answer: ${ROW_PROBLEMS[first.problem]}.`);
  }
  await output.write(chunk, cells, bad, flagged);
}

/** @throws BulkError for what is no fault of the row */
function problemOf(code: string): RowProblem {
  if (Object.hasOwn(ROW_PROBLEMS, code)) return code as RowProblem;
  throw new BulkError(EXIT.failed, `The model did not answer: ${code}.`);
}

function failed(code: RowProblem): Outcome {
  return { error: { code } };
}

function isLonger(text: string, codePoints: number): boolean {
  if (text.length <= codePoints) return false;
  if (text.length > 2 * codePoints) return true;
  let count = 0;
  for (const _ of text) count++;
  return count > codePoints;
}
