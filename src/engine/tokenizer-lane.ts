/**
 * One tokenizer process and the texts that wait for it.
 *
 * What waits for one model goes to the process together, up to a size: a message costs more than a short text. When
 * the process dies, each text that it held is tried once more, by itself.
 */
import { EMPTY, INVALID_UNICODE, type LoadTokenizer, type Tokenized } from './protocol.ts';
import { ChildError, type ChildWatch, superviseChild } from './supervisor.ts';

export type TokenizedText =
  | { readonly error: 'invalid_unicode' | 'empty_after_normalization' }
  | {
      /** int32 [n], without special tokens; n is at least 1. */
      readonly ids: Int32Array;
      /** Empty unless it was asked for. */
      readonly normalized: string;
    };

export interface LaneJob {
  readonly model: string;
  readonly texts: readonly string[];
  /** Whether the normalised texts are wanted as well. */
  readonly normalized: boolean;
  /** Jobs are taken smallest first; comparable with `performance.now()`. */
  readonly due: number;
  /** Whether it must not go to the process together with other jobs. */
  readonly alone: boolean;
  /**
   * Called once for each text, unless the job is cancelled.
   *
   * @param outcome a ChildError when the process died over the text twice, or refused
   * @param seconds of work
   */
  done(text: number, outcome: TokenizedText | ChildError, seconds: number): void;
}

export interface TokenizerLane {
  /** @throws ChildError when the process cannot load it */
  load(spec: LoadTokenizer): Promise<void>;
  /** @returns a function that cancels the job: what waits is forgotten, what is worked on is not reported */
  submit(job: LaneJob): () => void;
  readonly running: boolean;
  /** Resolves when nothing waits or is worked on. */
  emptied(): Promise<void>;
  close(): Promise<void>;
}

/** Failed starts in a row after which waiting jobs are given up rather than kept for a process that may never come. */
const GIVE_UP_AFTER = 5;
/** UTF-16 units that go to the process together: what a text that comes a moment later has to wait for, about 2 ms. */
export const MESSAGE_SIZE = 4_000;

interface Waiting {
  readonly job: LaneJob;
  /** Positions in `job.texts`. */
  readonly texts: readonly number[];
  readonly size: number;
  readonly alone: boolean;
  readonly state: { cancelled: boolean };
}

export function createTokenizerLane(options: {
  /** What a replaced process loads first; the lane adds to it. */
  readonly specs: readonly LoadTokenizer[];
  readonly timeoutMs: number;
  readonly loadTimeoutMs: number;
  readonly watch: ChildWatch;
  /** The process died while it held the text. */
  readonly lost: (model: string, text: string) => void;
}): TokenizerLane {
  const specs = [...options.specs];
  /** Most urgent first. */
  const waiting: Waiting[] = [];
  const awaiting: (() => void)[] = [];
  let loaded = false;
  let busy = false;

  const child = superviseChild('tokenizer', {
    async started() {
      // A model whose files changed is refused when it is called; the others go on.
      await Promise.allSettled(specs.map((spec) => child.call(spec, options.loadTimeoutMs)));
      loaded = child.running;
      void work();
    },
    watch: options.watch,
    exited() {
      loaded = false;
      if (child.failures >= GIVE_UP_AFTER) giveUp('the tokenizer process does not start');
    },
  });

  async function work(): Promise<void> {
    if (busy) return;
    busy = true;
    while (loaded && waiting.length > 0) {
      const message = takeMessage();
      const { model, normalized } = (message[0] as Waiting).job;
      const texts = message.flatMap(({ job, texts: own }) => own.map((text) => job.texts[text] as string));
      try {
        report(message, await child.call({ type: 'tokenize', model, texts, normalized }, options.timeoutMs));
      } catch (error) {
        tryAgain(message, error as ChildError);
      }
    }
    busy = false;
    tellIfEmpty();
  }

  /** The most urgent job, and those after it that can go with it. */
  function takeMessage(): Waiting[] {
    const first = waiting[0] as Waiting;
    let size = first.size;
    let count = 1;
    for (; count < waiting.length && !first.alone; count++) {
      const next = waiting[count] as Waiting;
      size += next.size;
      if (next.alone || size > MESSAGE_SIZE) break;
      if (next.job.model !== first.job.model || next.job.normalized !== first.job.normalized) break;
    }
    return waiting.splice(0, count);
  }

  function report(message: readonly Waiting[], tokenized: Tokenized): void {
    const outcomes = split(tokenized);
    const seconds = tokenized.seconds / outcomes.length;
    let next = 0;
    for (const { job, texts, state } of message)
      for (const text of texts) {
        const outcome = outcomes[next++] as TokenizedText;
        if (!state.cancelled) job.done(text, outcome, seconds);
      }
  }

  function tryAgain(message: readonly Waiting[], error: ChildError): void {
    for (const { job, texts, alone, state } of message)
      for (const text of texts) {
        const content = job.texts[text] as string;
        if (error.kind === 'lost') options.lost(job.model, content);
        if (state.cancelled) continue;
        if (error.kind === 'refused' || alone) job.done(text, error, 0);
        else insert({ job, texts: [text], size: content.length, alone: true, state });
      }
  }

  function insert(entry: Waiting): void {
    let at = waiting.length;
    while (at > 0 && (waiting[at - 1] as Waiting).job.due > entry.job.due) at--;
    waiting.splice(at, 0, entry);
  }

  function giveUp(why: string): void {
    for (const { job, texts } of waiting.splice(0))
      for (const text of texts) job.done(text, new ChildError('lost', why), 0);
    tellIfEmpty();
  }

  function tellIfEmpty(): void {
    if (busy || waiting.length > 0) return;
    for (const proceed of awaiting.splice(0)) proceed();
  }

  return {
    get running() {
      return loaded;
    },
    async load(spec) {
      await child.call(spec, options.loadTimeoutMs);
      specs.push(spec);
    },
    submit(job) {
      const state = { cancelled: false };
      const size = job.texts.reduce((sum, text) => sum + text.length, 0);
      insert({ job, texts: [...job.texts.keys()], size, alone: job.alone, state });
      if (!busy && waiting.length === 1) setImmediate(() => void work());
      return () => {
        if (state.cancelled) return;
        state.cancelled = true;
        for (let at = waiting.length - 1; at >= 0; at--) if (waiting[at]?.state === state) waiting.splice(at, 1);
        tellIfEmpty();
      };
    },
    async emptied() {
      if (busy || waiting.length > 0) await new Promise<void>((resolve) => awaiting.push(resolve));
    },
    async close() {
      await child.close();
      giveUp('the service is shutting down');
    },
  };
}

/** Concatenated outcomes -> one for each text. */
function split(tokenized: Tokenized): TokenizedText[] {
  let offset = 0;
  return Array.from(tokenized.counts, (count, k) => {
    if (count === INVALID_UNICODE) return { error: 'invalid_unicode' };
    if (count === EMPTY) return { error: 'empty_after_normalization' };
    const ids = tokenized.ids.subarray(offset, offset + count);
    offset += count;
    return { ids, normalized: tokenized.normalized?.[k] ?? '' };
  });
}
