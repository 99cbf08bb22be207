/**
 * All tokenizing of the service, in two lanes: a text that takes long must not hold up the short ones.
 *
 * A text's length is all that is known of its cost: 100,000 characters took 12 ms as spaces, 170 ms as words of 99
 * random letters, and combining marks cost by the square of their number (25,000: 120 ms). So long texts have a process
 * of their own, which starts when the first one comes.
 */
import { EMPTY, INVALID_UNICODE, type LoadTokenizer, type Tokenized } from './protocol.ts';
import { ChildError, type ChildWatch } from './supervisor.ts';
import { createTokenizerLane, type TokenizerLane } from './tokenizer-lane.ts';

export type TokenizedText =
  | { readonly error: 'invalid_unicode' | 'empty_after_normalization' }
  | {
      /** int32 [n], without special tokens; n is at least 1. */
      readonly ids: Int32Array;
      /** Empty unless it was asked for. */
      readonly normalized: string;
    };

/** A process that serves nothing, to try bundles on. */
export interface SpareTokenizer {
  /** @throws ChildError when the tokenizer cannot be loaded */
  load(spec: LoadTokenizer): Promise<void>;
  /**
   * As `tokenize`, with the normalised texts, all in the short lane: golden vectors.
   *
   * @throws ChildError
   */
  inspect(model: string, texts: readonly string[]): Promise<readonly TokenizedText[]>;
  close(): Promise<void>;
}

export interface Tokenizers extends SpareTokenizer {
  /** Starts a process to try bundles on while the others serve. */
  spare(): SpareTokenizer;
  /**
   * Replaces the processes by new ones that have loaded exactly these; what the old ones hold is answered first.
   *
   * @throws ChildError when one of them cannot be loaded; then the old processes stay
   */
  renew(specs: readonly LoadTokenizer[]): Promise<void>;
  /**
   * @returns one outcome for each text, in order, and the seconds of work
   * @throws ChildError, or the signal's reason
   */
  tokenize(
    model: string,
    texts: readonly string[],
    signal?: AbortSignal,
  ): Promise<{ readonly texts: readonly TokenizedText[]; readonly seconds: number }>;
  /** Texts and UTF-16 units that wait or are being worked on. */
  readonly texts: number;
  readonly characters: number;
  readonly running: boolean;
}

/** UTF-16 units. The worst text of this length that we know takes 9 ms. */
const LONG_TEXT = 2_000;
/** UTF-16 units of one job in the short lane: what a neighbour may have to wait for. */
const JOB_SIZE = 8_000;
/** A request's later jobs count as arrived this much later for each unit before them: others come in between. */
const PACE_MS_PER_UNIT = 0.001;

export function createTokenizers(options: {
  readonly timeoutMs: number;
  readonly loadTimeoutMs: number;
  readonly watch: ChildWatch;
}): Tokenizers {
  let specs: LoadTokenizer[] = [];
  let short = createTokenizerLane({ specs: [], ...options });
  /** Lanes that join, leave, or are tried on. */
  const others = new Set<TokenizerLane>();
  let closed = false;
  let long: TokenizerLane | undefined;
  let waitingTexts = 0;
  let waitingCharacters = 0;

  function laneOf(job: Job): TokenizerLane {
    if (!job.long) return short;
    long ??= createTokenizerLane({ specs, ...options });
    return long;
  }

  /** @throws ChildError */
  function extraLane(): TokenizerLane {
    if (closed) throw new ChildError('lost', 'the service is shutting down');
    const lane = createTokenizerLane({ specs: [], ...options });
    others.add(lane);
    return lane;
  }

  async function leave(lane: TokenizerLane): Promise<void> {
    others.add(lane);
    await lane.emptied();
    await lane.close();
    others.delete(lane);
  }

  return {
    get texts() {
      return waitingTexts;
    },
    get characters() {
      return waitingCharacters;
    },
    get running() {
      return short.running;
    },
    async load(spec) {
      await short.load(spec);
      specs.push(spec);
      await long?.load(spec);
    },
    async tokenize(model, texts, signal) {
      const characters = texts.reduce((sum, text) => sum + text.length, 0);
      waitingTexts += texts.length;
      waitingCharacters += characters;
      try {
        const now = performance.now();
        const outcomes = new Array<TokenizedText>(texts.length);
        const seconds = await Promise.all(
          cutJobs(texts).map(async (job) => {
            const request = {
              type: 'tokenize',
              model,
              texts: job.indexes.map((i) => texts[i] as string),
              normalized: false,
            } as const;
            const due = now + job.before * PACE_MS_PER_UNIT;
            const tokenized = await laneOf(job).submit({ request, due, signal });
            split(tokenized).forEach((outcome, k) => {
              outcomes[job.indexes[k] as number] = outcome;
            });
            return tokenized.seconds;
          }),
        );
        return { texts: outcomes, seconds: seconds.reduce((a, b) => a + b, 0) };
      } finally {
        waitingTexts -= texts.length;
        waitingCharacters -= characters;
      }
    },
    inspect: (model, texts) => inspect(short, model, texts),
    spare() {
      const lane = extraLane();
      return {
        load: (spec) => lane.load(spec),
        inspect: (model, texts) => inspect(lane, model, texts),
        close: () => leave(lane),
      };
    },
    async renew(next) {
      const fresh = extraLane();
      try {
        for (const spec of next) await fresh.load(spec);
      } catch (error) {
        await leave(fresh);
        throw error;
      }
      others.delete(fresh);
      const old = [short, long];
      specs = [...next];
      short = fresh;
      // The next long text starts a new one.
      long = undefined;
      await Promise.all(old.map((lane) => lane && leave(lane)));
    },
    async close() {
      closed = true;
      await Promise.all([short, long, ...others].map((lane) => lane?.close()));
    },
  };
}

async function inspect(lane: TokenizerLane, model: string, texts: readonly string[]) {
  const request = { type: 'tokenize', model, texts, normalized: true } as const;
  return split(await lane.submit({ request, due: performance.now(), signal: undefined }));
}

interface Job {
  readonly indexes: number[];
  readonly long: boolean;
  /** UTF-16 units of the request's earlier texts. */
  readonly before: number;
}

/** Long texts one by one, short ones together up to the job size. */
function cutJobs(texts: readonly string[]): Job[] {
  const jobs: Job[] = [];
  let before = 0;
  let current: Job | undefined;
  let size = 0;
  texts.forEach((text, i) => {
    if (text.length > LONG_TEXT) jobs.push({ indexes: [i], long: true, before });
    else {
      if (current === undefined || size + text.length > JOB_SIZE) {
        current = { indexes: [], long: false, before };
        jobs.push(current);
        size = 0;
      }
      current.indexes.push(i);
      size += text.length;
    }
    before += text.length;
  });
  return jobs;
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
