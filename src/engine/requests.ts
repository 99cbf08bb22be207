/**
 * One request's way: texts -> ids -> windows -> the scheduler -> outputs -> an outcome for each text.
 *
 * Each text stands for itself until the end; what fails takes no neighbour with it.
 */
import { combineWindows } from './combine.ts';
import type { PoolEvents } from './inference-pool.ts';
import type { Model } from './models.ts';
import type { Scheduler, Window } from './scheduler.ts';
import { ChildError } from './supervisor.ts';
import type { TokenizedText, Tokenizers } from './tokenizers.ts';
import { textTokens } from './trial.ts';
import {
  type Classification,
  type ClassifyRequest,
  EngineError,
  type EngineObserver,
  type TextOutcome,
  type WindowResult,
} from './types.ts';
import { cutWindows } from './windows.ts';

export interface Requests {
  /** @throws EngineError that concerns the whole request, or the signal's reason */
  classifyEach(model: Model, request: ClassifyRequest): Promise<Classification<TextOutcome>>;
  /** What the inference pool is to tell. */
  readonly events: PoolEvents<Item>;
}

/** One window on its way. */
export interface Item {
  readonly ids: Int32Array;
  readonly job: Job;
  readonly text: number;
  readonly window: number;
}

/** One request whose windows wait or run. */
interface Job {
  readonly windows: Window<Item>[];
  /** One for each text: its windows' outputs so far, or why it has none. */
  readonly outputs: (WindowResult[] | EngineError)[];
  pending: number;
  settled: boolean;
  queueSeconds: number;
  inferenceSeconds: number;
  resolve(): void;
  reject(error: unknown): void;
}

export function createRequests(options: {
  readonly scheduler: Scheduler<Item>;
  readonly tokenizers: Tokenizers;
  readonly queueWindows: number;
  readonly queueCharacters: number;
  readonly observer: Partial<EngineObserver>;
  /** Called when windows were offered to the scheduler. */
  readonly offered: () => void;
}): Requests {
  const { scheduler, tokenizers, queueWindows, queueCharacters, observer } = options;

  function settle(job: Job, windows: number): void {
    job.pending -= windows;
    if (job.pending === 0) job.resolve();
  }

  const events: PoolEvents<Item> = {
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
      const outputs = job.outputs[item.text];
      job.inferenceSeconds += seconds;
      if (Array.isArray(outputs)) outputs[item.window] = { tokens, ...output };
      settle(job, 1);
    },
    wanted: ({ item }) => !item.job.settled && Array.isArray(item.job.outputs[item.text]),
    failed({ item }) {
      const { job, text } = item;
      const message = 'The model process failed twice on this text; try again, and report it if it goes on failing';
      job.outputs[text] = new EngineError('inference_failed', message, { index: text });
      settle(job, 1);
    },
  };

  async function runWindows(model: Model, texts: readonly TokenizedText[], signal?: AbortSignal): Promise<Job> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const job: Job = {
      windows: [],
      outputs: [],
      pending: 0,
      settled: false,
      queueSeconds: 0,
      inferenceSeconds: 0,
      resolve() {
        job.settled = true;
        resolve();
      },
      reject(error) {
        if (job.settled) return;
        job.settled = true;
        scheduler.remove(job.windows);
        observer.depth?.(scheduler.windows);
        reject(error);
      },
    };
    texts.forEach((own, text) => {
      if ('error' in own) {
        job.outputs.push(refusedText(own.error, text));
        return;
      }
      const cut = cutWindows(own.ids, model.served.manifest.input);
      job.outputs.push(new Array<WindowResult>(cut.length));
      cut.forEach((ids, window) => {
        job.windows.push({ model: model.key, tokens: ids.length, item: { ids, job, text, window } });
      });
    });
    job.pending = job.windows.length;
    if (job.pending === 0) return job;
    if (!scheduler.offer(job.windows, performance.now())) throw overloaded();

    const abort = () => job.reject(signal?.reason);
    signal?.addEventListener('abort', abort);
    observer.depth?.(scheduler.windows);
    options.offered();
    try {
      await promise;
      return job;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  return {
    events,
    async classifyEach(model, { texts, signal }) {
      const { manifest } = model.served;
      const waiting = scheduler.windows + tokenizers.texts;
      if (waiting > 0 && waiting + texts.length > queueWindows) throw overloaded();
      if (tokenizers.characters > queueCharacters) throw overloaded();

      const asked = performance.now();
      const { texts: tokenized, seconds } = await tokenizers
        .tokenize(model.key, texts, signal)
        .catch((error: unknown) => {
          throw error instanceof ChildError ? tokenizerFailed() : error;
        });
      // Texts of both lanes are worked on at the same time, so the work can be more than the time that passed.
      const tokenizerWaitMs = Math.max(0, performance.now() - asked - seconds * 1000);
      const lengths = tokenized.map((text) => ('error' in text ? 0 : textTokens(text.ids, manifest)));
      const tokens = lengths.reduce((a, b) => a + b, 0);
      observer.tokenized?.({ model: model.served.name, texts: texts.length, tokens, seconds });

      const job = await runWindows(model, tokenized, signal);
      return {
        model: model.served,
        results: job.outputs.map(
          (windows, i): TextOutcome =>
            Array.isArray(windows) ? combineWindows(windows, model.positive, lengths[i] as number) : windows,
        ),
        timing: {
          queueMs: tokenizerWaitMs + job.queueSeconds * 1000,
          tokenizeMs: seconds * 1000,
          inferenceMs: job.inferenceSeconds * 1000,
        },
      };
    },
  };
}

/** `name@version` -> name */
const nameOf = (key: string) => key.slice(0, key.lastIndexOf('@'));

function refusedText(code: 'invalid_unicode' | 'empty_after_normalization', index: number): EngineError {
  const message =
    code === 'invalid_unicode'
      ? 'The text holds a lone surrogate, which is no Unicode character: send well-formed Unicode'
      : 'Nothing is left of the text after normalisation: send a text with words';
  return new EngineError(code, message, { index });
}

function overloaded(): EngineError {
  return new EngineError('overloaded', 'More texts are waiting than the service admits: try again shortly');
}

function tokenizerFailed(): EngineError {
  return new EngineError('inference_failed', 'The tokenizer process failed on this request: try again');
}
