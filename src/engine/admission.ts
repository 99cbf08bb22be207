/**
 * Whether a request is taken on, decided before anything is done for it.
 *
 * The bound that matters is time: what waits ahead of the request, divided by how fast it is worked off as measured,
 * must not exceed `queueWaitMs`. A longer queue would serve nobody sooner and everybody later. Interactive requests do
 * not count bulk ones as ahead of them, and bulk ones may wait as long as they allow. Besides, windows, tokens and
 * characters that wait are bounded, for the sake of memory; bulk requests may fill a part of those bounds.
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
  /** @returns undefined when the request is taken on; one that finds nothing waiting always is */
  refuse(asked: Asked): Refused | undefined;
  /** The queue that a request belongs to, from what is known of it before it is tokenised. */
  queueOf(model: string, longestText: number, bulk: boolean): QueueName;
  /** Tells how many tokens the characters of texts came to. */
  tokenized(model: string, characters: number, tokens: number): void;
}

/** Whose work is done before that of a queue. */
const AHEAD: Readonly<Record<QueueName, readonly QueueName[]>> = {
  short: ['short'],
  long: ['short', 'long'],
  bulk: ['short', 'long', 'bulk'],
};

/** The part of the bounds that bulk requests may fill, so that they take no place from interactive ones. */
const BULK_SHARE = 0.5;
/** Retry after so many milliseconds while nothing has been measured yet. */
const UNMEASURED_MS = 1_000;
/** Tokens of a character before texts were seen: English has 0.25, Chinese 1. */
const TOKENS_PER_CHARACTER = 0.3;
/** Weight of the newest text. */
const NEWEST = 0.02;

export function createAdmission(options: {
  readonly scheduler: Pick<Scheduler<never>, 'windows' | 'tokens' | 'workMs'>;
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
      const pending = AHEAD.bulk.map(untokenized);
      const pendingTexts = pending.reduce((sum, own) => sum + own.texts, 0);
      if (scheduler.windows + pendingTexts === 0) return undefined;
      const pendingCharacters = pending.reduce((sum, own) => sum + own.characters, 0);
      const share = queue === 'bulk' ? BULK_SHARE : 1;
      const wait = waitMs(model, queue);
      const tokens = scheduler.tokens + tokensOf(model, pendingCharacters + characters);
      const bounds: readonly (readonly [RefusalReason, value: number, most: number])[] = [
        ['wait', wait, queue === 'bulk' ? timeoutMs : Math.min(timeoutMs, options.queueWaitMs)],
        ['windows', scheduler.windows + pendingTexts + texts, share * options.queueWindows],
        ['tokens', tokens, share * options.queueTokens],
        ['characters', pendingCharacters + characters, share * options.queueCharacters],
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
