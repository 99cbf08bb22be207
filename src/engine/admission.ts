/**
 * Whether a request is taken on, decided before anything is done for it.
 *
 * The bound that matters is time: what waits ahead of the request, divided by how fast it is worked off as measured,
 * must not exceed `queueWaitMs`; bulk requests may wait as long as they allow. A longer queue would serve nobody sooner
 * and everybody later. Besides, windows, tokens and characters that wait are bounded, for the sake of memory. Every
 * request counts what goes before it and its like alone, so that one long text refuses no short ones.
 */
import type { Pace } from './pace.ts';
import type { QueueName, Scheduler } from './scheduler.ts';
import type { RefusalReason } from './types.ts';

/** What waits to be tokenised. */
export interface Untokenized {
  readonly texts: number;
  /** UTF-16 units. */
  readonly characters: number;
}

export interface Asked {
  readonly model: string;
  readonly queue: QueueName;
  readonly texts: number;
  /** UTF-16 units. */
  readonly characters: number;
  /** Milliseconds after which nobody waits for the answer. */
  readonly timeoutMs: number;
}

export interface Refused {
  readonly reason: RefusalReason;
  /** Milliseconds in which what waits now is worked off. */
  readonly retryAfterMs: number;
}

export interface Admission {
  /** @returns undefined when the request is taken on; one that finds nothing ahead of it always is */
  refuse(asked: Asked): Refused | undefined;
  /** The queue that a request belongs to, from what is known of it before it is tokenised. */
  queueOf(model: string, longestText: number, bulk: boolean): QueueName;
  /** Tells how many tokens the characters of texts came to. */
  tokenized(model: string, characters: number, tokens: number): void;
}

/** What a request of a queue waits for. */
const AHEAD: Readonly<Record<QueueName, readonly QueueName[]>> = {
  short: ['short'],
  long: ['short', 'long'],
  bulk: ['short', 'long', 'bulk'],
};

/** The part of the bounds that may be full for a bulk request to be taken on. */
const BULK_SHARE = 0.5;
/** Retry after so many milliseconds while nothing has been measured yet. */
const UNMEASURED_MS = 1_000;
/** Tokens of a character before texts were seen: English has 0.25, Chinese 1. */
const TOKENS_PER_CHARACTER = 0.3;
/** Weight of the newest text. */
const NEWEST = 0.02;

export function createAdmission(options: {
  readonly scheduler: Pick<Scheduler<never>, 'waiting' | 'workMs'>;
  readonly untokenized: (queue: QueueName) => Untokenized;
  readonly pace: Pick<Pace, 'runMs'>;
  /** Processes that run batches now. */
  readonly workers: () => number;
  readonly batchTokens: number;
  readonly queueWaitMs: number;
  readonly queueWindows: number;
  readonly queueTokens: number;
  /** UTF-16 units. */
  readonly queueCharacters: number;
}): Admission {
  const { scheduler, untokenized, pace, workers, batchTokens } = options;
  const ratios = new Map<string, number>();
  const tokensOf = (model: string, characters: number) => characters * (ratios.get(model) ?? TOKENS_PER_CHARACTER);

  /** Milliseconds until the work ahead of a queue is done. */
  function waitMs(model: string, queue: QueueName): number {
    const msPerToken = pace.runMs(model, batchTokens) / batchTokens;
    let ms = 0;
    for (const ahead of AHEAD[queue])
      ms += scheduler.workMs(ahead) + tokensOf(model, untokenized(ahead).characters) * msPerToken;
    return ms / Math.max(1, workers());
  }

  return {
    refuse({ model, queue, texts, characters, timeoutMs }) {
      const ahead = { items: 0, tokens: 0, characters: 0 };
      for (const name of AHEAD[queue]) {
        const [waiting, pending] = [scheduler.waiting(name), untokenized(name)];
        ahead.items += waiting.windows + pending.texts;
        ahead.tokens += waiting.tokens;
        ahead.characters += pending.characters;
      }
      if (ahead.items === 0) return undefined;
      const share = queue === 'bulk' ? BULK_SHARE : 1;
      const wait = waitMs(model, queue);
      const bounds: readonly (readonly [RefusalReason, value: number, most: number])[] = [
        ['wait', wait, queue === 'bulk' ? timeoutMs : Math.min(timeoutMs, options.queueWaitMs)],
        ['windows', ahead.items + texts, share * options.queueWindows],
        ['tokens', ahead.tokens + tokensOf(model, ahead.characters + characters), share * options.queueTokens],
        ['characters', ahead.characters + characters, share * options.queueCharacters],
      ];
      const exceeded = bounds.find(([, value, most]) => value > most);
      if (exceeded === undefined) return undefined;
      return { reason: exceeded[0], retryAfterMs: wait > 0 ? Math.ceil(wait) : UNMEASURED_MS };
    },

    queueOf(model, longestText, bulk) {
      if (bulk) return 'bulk';
      return tokensOf(model, longestText) > batchTokens ? 'long' : 'short';
    },

    tokenized(model, characters, tokens) {
      const measured = tokens / characters;
      const before = ratios.get(model) ?? measured;
      ratios.set(model, before + NEWEST * (measured - before));
    },
  };
}
