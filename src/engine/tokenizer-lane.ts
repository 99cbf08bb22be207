/**
 * One tokenizer process and the texts that wait for it.
 *
 * It works on one job at a time, so when the process dies it is known whose text it held.
 */
import type { LoadTokenizer, Tokenize, Tokenized } from './protocol.ts';
import { ChildError, type ChildWatch, superviseChild } from './supervisor.ts';

export interface LaneJob {
  readonly request: Tokenize;
  /** Jobs are taken smallest first; comparable with `performance.now()`. */
  readonly due: number;
  readonly signal: AbortSignal | undefined;
}

export interface TokenizerLane {
  /** @throws ChildError when the process cannot load it */
  load(spec: LoadTokenizer): Promise<void>;
  /**
   * @throws ChildError when the process died over it twice, or refused
   * @throws the signal's reason when it was aborted while it waited
   */
  submit(job: LaneJob): Promise<Tokenized>;
  readonly running: boolean;
  /** Resolves when nothing waits or is worked on. */
  emptied(): Promise<void>;
  close(): Promise<void>;
}

/** Failed starts in a row after which waiting jobs are given up rather than kept for a process that may never come. */
const GIVE_UP_AFTER = 5;

interface Waiting extends LaneJob {
  lost: boolean;
  readonly resolve: (value: Tokenized) => void;
  readonly reject: (error: unknown) => void;
}

export function createTokenizerLane(options: {
  /** What a replaced process loads first; the lane adds to it. */
  readonly specs: readonly LoadTokenizer[];
  readonly timeoutMs: number;
  readonly loadTimeoutMs: number;
  readonly watch: ChildWatch;
}): TokenizerLane {
  const specs = [...options.specs];
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
      if (child.failures < GIVE_UP_AFTER) return;
      for (const job of waiting.splice(0)) job.reject(new ChildError('lost', 'the tokenizer process does not start'));
      tellIfEmpty();
    },
  });

  async function work(): Promise<void> {
    if (busy) return;
    busy = true;
    for (let job = loaded ? mostUrgent() : undefined; job !== undefined; job = loaded ? mostUrgent() : undefined) {
      try {
        job.resolve(await child.call(job.request, options.timeoutMs));
      } catch (error) {
        if (error instanceof ChildError && error.kind === 'lost' && !job.lost && !job.signal?.aborted) {
          job.lost = true;
          waiting.push(job);
        } else job.reject(error);
      }
    }
    busy = false;
    tellIfEmpty();
  }

  function tellIfEmpty(): void {
    if (busy || waiting.length > 0) return;
    for (const proceed of awaiting.splice(0)) proceed();
  }

  function mostUrgent(): Waiting | undefined {
    let best = 0;
    for (let i = 1; i < waiting.length; i++) if ((waiting[i] as Waiting).due < (waiting[best] as Waiting).due) best = i;
    return waiting.splice(best, 1)[0];
  }

  return {
    get running() {
      return loaded;
    },
    async load(spec) {
      await child.call(spec, options.loadTimeoutMs);
      specs.push(spec);
    },
    async submit(job) {
      job.signal?.throwIfAborted();
      const { promise, resolve, reject } = Promise.withResolvers<Tokenized>();
      const entry: Waiting = { ...job, lost: false, resolve, reject };
      const abort = () => {
        const at = waiting.indexOf(entry);
        if (at >= 0) waiting.splice(at, 1);
        tellIfEmpty();
        reject(job.signal?.reason);
      };
      job.signal?.addEventListener('abort', abort);
      waiting.push(entry);
      void work();
      try {
        return await promise;
      } finally {
        job.signal?.removeEventListener('abort', abort);
      }
    },
    async emptied() {
      if (busy || waiting.length > 0) await new Promise<void>((resolve) => awaiting.push(resolve));
    },
    async close() {
      await child.close();
      for (const job of waiting.splice(0)) job.reject(new ChildError('lost', 'the service is shutting down'));
      tellIfEmpty();
    },
  };
}
