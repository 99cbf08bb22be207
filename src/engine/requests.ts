/**
 * One request's way: admission -> tokenizer -> answers -> an outcome for each text.
 *
 * Nothing is inferred before every text is tokenised, so that a request that fails for a bad text costs no inference.
 * Whatever ends a request early (its deadline, its client, its first error) frees its places everywhere at once.
 */
import type { Admission } from './admission.ts';
import type { Answered, Answers, Unanswered } from './answers.ts';
import type { Model } from './bring-up.ts';
import type { Tokenization, Tokenizers } from './tokenizers.ts';
import {
  type Classification,
  type ClassifyRequest,
  EngineError,
  type EngineErrorCode,
  type EngineObserver,
  type TextOutcome,
} from './types.ts';
import { textTokens } from './windows.ts';

export interface Requests {
  /** @throws EngineError `overloaded` */
  admit(model: Model, request: ClassifyRequest): void;
  /** @throws EngineError, or the signal's reason */
  classify(model: Model, request: ClassifyRequest): Promise<Classification<TextOutcome>>;
}

/** What clients are told of a text without an answer. */
const MESSAGES = {
  invalid_unicode: 'The text holds a lone surrogate, which is no Unicode character: send well-formed Unicode',
  empty_after_normalization: 'Nothing is left of the text after normalisation: send a text with words',
  inference_failed: 'The process that held the text failed twice; try again, and report it if it goes on failing',
  quarantined: 'The text has ended processes before and is not run again for some minutes',
  deadline_exceeded: 'The text could not be answered in the time that the request allows',
} as const satisfies Partial<Record<EngineErrorCode, string>>;

type Failure = keyof typeof MESSAGES;

const failed = (code: Failure, index: number) => new EngineError(code, MESSAGES[code], { index });

export function createRequests(options: {
  readonly admission: Admission;
  readonly tokenizers: Tokenizers;
  readonly answers: Answers;
  /** Milliseconds a request may take that does not say so itself. */
  readonly answerTimeoutMs: number;
  /** Tokens of one batch: a text of more is a long one. */
  readonly batchTokens: number;
  readonly observer: Partial<EngineObserver>;
  /** Called when work was offered to the scheduler, or taken from it. */
  readonly changed: () => void;
}): Requests {
  const { admission, tokenizers, answers, batchTokens, observer, changed } = options;

  /** @throws EngineError `overloaded` */
  function admit(model: Model, request: ClassifyRequest): void {
    const { texts, priority = 'interactive', timeoutMs = options.answerTimeoutMs } = request;
    let characters = 0;
    let longest = 0;
    for (const { length } of texts) {
      characters += length;
      longest = Math.max(longest, length);
    }
    const queue = admission.queueOf(model.key, longest, priority === 'bulk');
    const refused = admission.refuse({ model: model.key, queue, texts: texts.length, characters, timeoutMs });
    if (refused === undefined) return;
    const { reason, retryAfterMs } = refused;
    observer.refused?.({ model: model.served.name, priority, reason });
    throw new EngineError('overloaded', 'More texts are waiting than the service admits: try again shortly', {
      retryAfterMs,
    });
  }

  function run(
    model: Model,
    { texts, signal, priority = 'interactive', timeoutMs = options.answerTimeoutMs, needed = 0 }: ClassifyRequest,
    begunMs: number,
  ): Promise<Classification<TextOutcome>> {
    const { promise, resolve, reject } = Promise.withResolvers<Classification<TextOutcome>>();
    const started = performance.now();
    const tellStages = observer.asked?.({ model: model.served.name, texts: texts.length });
    const reached: { tokenizedMs?: number; queuedMs?: number; ranMs?: number } = {};
    const deadline = started + timeoutMs;
    const timer = setTimeout(expire, timeoutMs);
    const abort = () => end(() => reject(signal?.reason));
    signal?.addEventListener('abort', abort);

    const outcomes = new Array<TextOutcome | undefined>(texts.length);
    const tokenized = new Array<Int32Array | undefined>(texts.length);
    const leaves: (() => void)[] = [];
    let untokenized = texts.length;
    let unanswered = texts.length;
    let ended = false;
    const timing = { queueMs: 0, tokenizeMs: 0, inferenceMs: 0 };
    let tokenizerWaitMs = 0;

    function end(tell: () => void): void {
      if (ended) return;
      ended = true;
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      if (unanswered > 0) {
        for (const leave of leaves) leave();
        changed();
      }
      const { tokenizedMs, queuedMs, ranMs } = reached;
      tellStages?.({ begunMs, admittedMs: started, tokenizedMs, queuedMs, ranMs, endedMs: performance.now(), timing });
      tell();
    }

    function expire(): void {
      observer.late?.({ model: model.served.name, texts: unanswered });
      for (const index of texts.keys()) outcomes[index] ??= failed('deadline_exceeded', index);
      const fault = firstFault();
      if (fault === undefined) finish();
      else end(() => reject(fault));
    }

    const firstFault = () =>
      outcomes.find((outcome, index) => index < needed && outcome instanceof EngineError) as EngineError | undefined;

    function finish(): void {
      end(() =>
        resolve({
          model: model.served,
          results: outcomes as TextOutcome[],
          timing: { ...timing, queueMs: timing.queueMs + tokenizerWaitMs },
        }),
      );
    }

    function settle(index: number, outcome: TextOutcome): void {
      if (ended) return;
      outcomes[index] = outcome;
      unanswered--;
      // Errors of texts are known when all are tokenised, and then the first decides; later ones decide as they come.
      if (outcome instanceof EngineError && index < needed && untokenized === 0) end(() => reject(outcome));
      else if (unanswered === 0 && untokenized === 0) finish();
    }

    function failure(index: number, code: Failure): EngineError {
      if (code === 'quarantined') observer.refused?.({ model: model.served.name, priority, reason: code });
      return failed(code, index);
    }

    function onTokenized(index: number, outcome: Tokenization, seconds: number): void {
      if (ended) return;
      timing.tokenizeMs += seconds * 1000;
      untokenized--;
      if ('error' in outcome) {
        const code = outcome.error === 'failed' ? 'inference_failed' : outcome.error;
        outcomes[index] = failure(index, code);
        unanswered--;
      } else tokenized[index] = outcome.ids;
      if (untokenized === 0) begin();
    }

    function begin(): void {
      reached.tokenizedMs = performance.now();
      // Texts of both lanes are worked on at the same time, so the work can be more than the time that passed.
      tokenizerWaitMs = Math.max(0, reached.tokenizedMs - started - timing.tokenizeMs);
      const fault = firstFault();
      if (fault !== undefined) {
        end(() => reject(fault));
        return;
      }
      let tokens = 0;
      let characters = 0;
      for (const [index, ids] of tokenized.entries()) {
        if (ids === undefined) continue;
        // What was known at once may have ended the request.
        if (ended) return;
        const own = textTokens(ids, model.served.manifest.input);
        const queue = priority === 'bulk' ? 'bulk' : own > batchTokens ? 'long' : 'short';
        leaves.push(answers.ask(model, ids, { queue, deadline, before: tokens }, (got) => onAnswer(index, got)));
        tokens += own;
        characters += (texts[index] as string).length;
      }
      const { name } = model.served;
      observer.tokenized?.({ model: name, texts: texts.length, tokens, seconds: timing.tokenizeMs / 1000 });
      if (characters > 0) admission.tokenized(model.key, characters, tokens);
      if (unanswered === 0) finish();
      else changed();
    }

    /** A text that was shared had waited for somebody else before. */
    function noteRun(waitedMs: number): void {
      const taken = Math.min((reached.tokenizedMs as number) + waitedMs, performance.now());
      reached.ranMs = Math.min(reached.ranMs ?? taken, taken);
      reached.queuedMs = Math.max(reached.queuedMs ?? taken, taken);
    }

    function onAnswer(index: number, got: Answered | Unanswered): void {
      if (ended) return;
      if ('failure' in got) {
        if (got.failure === 'deadline_exceeded') observer.late?.({ model: model.served.name, texts: 1 });
        settle(index, failure(index, got.failure));
        return;
      }
      timing.queueMs = Math.max(timing.queueMs, got.waitedMs);
      noteRun(got.waitedMs);
      timing.inferenceMs += got.inferenceMs;
      settle(index, got.result);
    }

    if (texts.length === 0) finish();
    else leaves.push(tokenizers.submit(model.key, texts, priority === 'bulk', onTokenized));
    return promise;
  }

  return {
    admit,
    async classify(model, request) {
      const begunMs = performance.now();
      request.signal?.throwIfAborted();
      admit(model, request);
      return run(model, request, begunMs);
    },
  };
}
