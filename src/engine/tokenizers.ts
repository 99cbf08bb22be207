/**
 * All tokenizing of the service, in two lanes: a text that takes long must not hold up the short ones.
 *
 * A text's length is all that is known of its cost: 100,000 characters took 12 ms as spaces, 170 ms as words of 99
 * random letters, and combining marks cost by the square of their number (25,000: 120 ms). So long texts have a process
 * of their own, which starts when the first one comes.
 */
import type { LoadTokenizer } from './protocol.ts';
import { type Quarantine, STRIKES, sumOf } from './quarantine.ts';
import type { QueueName } from './scheduler.ts';
import { ChildError, type ChildWatch } from './supervisor.ts';
import { createTokenizerLane, MESSAGE_SIZE, type TokenizedText, type TokenizerLane } from './tokenizer-lane.ts';

export type { TokenizedText } from './tokenizer-lane.ts';

/** What became of a text; `quarantined` and `failed` are no fault of its form. */
export type Tokenization = TokenizedText | { readonly error: 'quarantined' | 'failed' };

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
   * @param done called once for each text, unless cancelled; `seconds` of work
   * @returns a function that cancels what is not done: it frees its place and is not reported
   */
  submit(
    model: string,
    texts: readonly string[],
    bulk: boolean,
    done: (text: number, outcome: Tokenization, seconds: number) => void,
  ): () => void;
  /** What waits or is being worked on, texts being long that have a process of their own. */
  untokenized(queue: QueueName): { readonly texts: number; readonly characters: number };
  readonly running: boolean;
}

/** UTF-16 units. The worst text of this length that we know takes 9 ms. */
const LONG_TEXT = 2_000;
/** A request's later jobs count as arrived this much later for each unit before them: others come in between. */
const PACE_MS_PER_UNIT = 0.001;
/** Bulk texts count as arrived this much later. */
const BULK_DELAY_MS = 100;

export function createTokenizers({
  quarantine,
  quarantined,
  ...lanes
}: {
  readonly timeoutMs: number;
  readonly loadTimeoutMs: number;
  readonly watch: ChildWatch;
  readonly quarantine: Quarantine;
  /** A text is refused from now on. */
  readonly quarantined: (model: string, sum: string) => void;
}): Tokenizers {
  const options = {
    ...lanes,
    lost(model: string, text: string) {
      const sum = sumOf(model, text);
      if (quarantine.strike(sum)) quarantined(model, sum);
    },
  };
  let specs: LoadTokenizer[] = [];
  let short = createTokenizerLane({ specs: [], ...options });
  /** Lanes that join, leave, or are tried on. */
  const others = new Set<TokenizerLane>();
  let closed = false;
  let long: TokenizerLane | undefined;
  const untokenized: Record<QueueName, { texts: number; characters: number }> = {
    short: { texts: 0, characters: 0 },
    long: { texts: 0, characters: 0 },
    bulk: { texts: 0, characters: 0 },
  };

  function laneOf(lane: Job['lane']): TokenizerLane {
    if (lane === 'short') return short;
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
    get running() {
      return short.running;
    },
    async load(spec) {
      await short.load(spec);
      specs.push(spec);
      await long?.load(spec);
    },
    submit(model, texts, bulk, done) {
      const bookOf = (text: string) => untokenized[bulk ? 'bulk' : laneFor(text)];
      const left = new Set(texts.keys());
      const cancels: (() => void)[] = [];
      const now = performance.now() + (bulk ? BULK_DELAY_MS : 0);
      for (const text of texts) {
        const book = bookOf(text);
        book.texts++;
        book.characters += text.length;
      }

      function leave(index: number): void {
        left.delete(index);
        const text = texts[index] as string;
        const book = bookOf(text);
        book.texts--;
        book.characters -= text.length;
      }
      function finish(index: number, outcome: Tokenization, seconds: number): void {
        leave(index);
        done(index, outcome, seconds);
      }
      function report(index: number, outcome: TokenizedText | ChildError, seconds: number): void {
        if (outcome instanceof ChildError) finish(index, { error: 'failed' }, seconds);
        else {
          if (quarantine.active) quarantine.clear(sumOf(model, texts[index] as string));
          finish(index, outcome, seconds);
        }
      }

      const strikes = texts.map((text) => (quarantine.active ? quarantine.strikes(sumOf(model, text)) : 0));
      for (const { indexes, lane, before, alone } of cutJobs(texts, strikes)) {
        cancels.push(
          laneOf(lane).submit({
            model,
            texts: indexes.map((i) => texts[i] as string),
            normalized: false,
            due: now + before * PACE_MS_PER_UNIT,
            alone,
            done: (k, outcome, seconds) => report(indexes[k] as number, outcome, seconds),
          }),
        );
      }
      for (const [index, count] of strikes.entries()) if (count >= STRIKES) finish(index, { error: 'quarantined' }, 0);
      return () => {
        for (const cancel of cancels) cancel();
        for (const index of [...left]) leave(index);
      };
    },
    untokenized: (queue) => untokenized[queue],
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

function inspect(lane: TokenizerLane, model: string, texts: readonly string[]): Promise<readonly TokenizedText[]> {
  const outcomes = new Array<TokenizedText>(texts.length);
  let left = texts.length;
  return new Promise((resolve, reject) => {
    if (left === 0) resolve(outcomes);
    lane.submit({
      model,
      texts,
      normalized: true,
      due: performance.now(),
      alone: false,
      done(text, outcome) {
        if (outcome instanceof ChildError) return reject(outcome);
        outcomes[text] = outcome;
        left--;
        if (left === 0) resolve(outcomes);
      },
    });
  });
}

const laneFor = (text: string): Job['lane'] => (text.length > LONG_TEXT ? 'long' : 'short');

interface Job {
  readonly indexes: number[];
  readonly lane: 'short' | 'long';
  /** UTF-16 units of the request's earlier texts. */
  readonly before: number;
  readonly alone: boolean;
}

/**
 * Long texts one by one, short ones together up to the size of a message.
 *
 * @param strikes of each text; one with some goes alone, one with too many not at all
 */
function cutJobs(texts: readonly string[], strikes: readonly number[]): Job[] {
  const jobs: Job[] = [];
  let before = 0;
  let current: Job | undefined;
  let size = 0;
  for (const [i, text] of texts.entries()) {
    const lane = laneFor(text);
    const struck = strikes[i] as number;
    if (struck >= STRIKES) continue;
    if (struck > 0 || lane === 'long') jobs.push({ indexes: [i], lane, before, alone: struck > 0 });
    else {
      if (current === undefined || size + text.length > MESSAGE_SIZE) {
        current = { indexes: [], lane, before, alone: false };
        jobs.push(current);
        size = 0;
      }
      current.indexes.push(i);
      size += text.length;
    }
    before += text.length;
  }
  return jobs;
}
