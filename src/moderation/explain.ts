/**
 * Which words drove the `offensive` score: occlusion. A text is classified again without each of its words, and a word's
 * contribution is how much lower the score then is. What that means and how faithful it is: docs/explanations.md.
 */
import pLimit from 'p-limit';

import type { Manifest } from '../bundle/manifest.ts';
import { type Engine, EngineError, type ServedModel, type TextOutcome, type TextResult } from '../engine/types.ts';
import { passagesOf } from './passages.ts';
import { offensiveScore, roundScore } from './scores.ts';
import { without } from './without.ts';
import { groupWords, type Span, wordsOf } from './words.ts';

/** Requests explained at once; others wait, so that explanations never fill the engine's queue. */
const CONCURRENT = 2;
/** Requests that may wait to be explained. */
const WAITING = 32;
/** UTF-16 code units of all variants of one text: tokenising them stays cheap however long the text is. */
const VARIANT_CHARACTERS = 200_000;

export interface Contribution extends Span {
  /** How much lower `offensive` is without this part of the text; below 0 where the part makes it milder. */
  readonly contribution: number;
}

/** Positions are in UTF-16 code units of the text as it was sent. */
export interface Explanation {
  /** What was explained: the whole text, or of a text of several windows the passage with the highest score. */
  readonly passage: Span;
  /** `offensive` of the passage: what contributions are differences from. */
  readonly offensive: number;
  /** Every word of the passage in order; neighbouring words together where there are more than may be taken away. */
  readonly spans: readonly Contribution[];
  /** Words of the passage. */
  readonly words: number;
  /** What it cost: texts classified on top of the answer, and their tokens. */
  readonly variants: number;
  readonly tokens: number;
}

interface Subject {
  readonly text: string;
  /** What the engine found for the text; only its length matters. */
  readonly result: Pick<TextResult, 'tokens' | 'windows'>;
  /** Position of the text in the request, for errors. */
  readonly index: number;
}

export interface ExplainRequest {
  /** What answered. */
  readonly model: ServedModel;
  readonly texts: readonly Subject[];
  /** Most words or groups of words that are taken away from one text, at least 1. */
  readonly words: number;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds from now after which nobody waits for the explanations. Default: the engine's. */
  readonly timeoutMs?: number | undefined;
}

/**
 * One explanation a text, in order.
 *
 * @throws EngineError whose index is that of the text in the request
 */
export type Explain = (request: ExplainRequest) => Promise<readonly Explanation[]>;

/** A text and others made from it, to be classified. */
interface Job {
  readonly subject: Subject;
  readonly variants: readonly string[];
}

interface Score {
  readonly offensive: number;
  readonly tokens: number;
}

export function createExplainer(engine: Pick<Engine, 'classifyEach'>): Explain {
  const limit = pLimit(CONCURRENT);
  return async ({ model, texts, words: most, signal, timeoutMs }) => {
    if (limit.pendingCount >= WAITING)
      throw new EngineError('overloaded', 'Too many explanations are waiting', { retryAfterMs: 1_000 });

    const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;

    /** The scores of each job's variants, from one call. */
    async function scoresOf(jobs: readonly Job[]): Promise<Score[][]> {
      const flat = jobs.flatMap(({ variants }) => variants);
      if (flat.length === 0) return jobs.map(() => []);
      signal?.throwIfAborted();
      const { results } = await engine.classifyEach({
        model: `${model.name}@${model.version}`,
        texts: flat,
        signal,
        // Whoever only wants a score goes first.
        priority: 'bulk',
        timeoutMs: deadline === undefined ? undefined : Math.max(1, Math.round(deadline - performance.now())),
      });
      let answered = 0;
      return jobs.map(({ subject, variants }) => {
        const own = results.slice(answered, answered + variants.length);
        answered += variants.length;
        return own.map((outcome) => score(model.manifest, outcome, subject.index));
      });
    }

    return limit(async () => {
      const passages = await decidingPassages(model.manifest, texts, scoresOf);
      const plans = passages.map((found) => {
        const words = wordsOf(found.passageText);
        const affordable = Math.max(1, Math.floor(VARIANT_CHARACTERS / found.passageText.length) - 1);
        const groups = groupWords(words, Math.min(most, affordable));
        const lacking = groups.map((group) => without(found.passageText, [group]));
        return { ...found, words: words.length, groups, variants: [found.passageText, ...lacking] };
      });
      const scores = await scoresOf(plans);
      return plans.map(({ passage, words, groups, variants, cost }, i): Explanation => {
        const [whole, ...lacking] = scores[i] as [Score, ...Score[]];
        return {
          passage,
          offensive: whole.offensive,
          spans: groups.map(({ begin, end }, k) => ({
            begin: passage.begin + begin,
            end: passage.begin + end,
            contribution: roundScore(whole.offensive - (lacking[k] as Score).offensive),
          })),
          words,
          variants: cost.variants + variants.length,
          tokens: cost.tokens + tokensOf([whole, ...lacking]),
        };
      });
    });
  };
}

/**
 * A text of one window is explained whole. Of a longer one, whose most offensive window decides, no single word lowers
 * the score while another window is as offensive; so the passage with the highest score of its own is explained.
 */
async function decidingPassages(
  { input }: Manifest,
  texts: readonly Subject[],
  scoresOf: (jobs: readonly Job[]) => Promise<Score[][]>,
) {
  const fits = input.maxTokens - input.prefixIds.length - input.suffixIds.length;
  const jobs = texts.map((subject) => {
    const { text, result } = subject;
    const passages = result.windows.length > 1 ? passagesOf(text, result.tokens, fits) : [];
    return { subject, passages, variants: passages.map(({ begin, end }) => text.slice(begin, end)) };
  });
  const scores = await scoresOf(jobs);
  return jobs.map(({ subject, passages }, i) => {
    const found = scores[i] as Score[];
    const highest = Math.max(...found.map(({ offensive }) => offensive));
    const passage = passages[found.findIndex(({ offensive }) => offensive === highest)] ?? {
      begin: 0,
      end: subject.text.length,
    };
    const cost = { variants: passages.length, tokens: tokensOf(found) };
    return { subject, passage, passageText: subject.text.slice(passage.begin, passage.end), cost };
  });
}

/** Nothing left to classify cannot offend: its score is 0. */
function score(manifest: Manifest, outcome: TextOutcome, index: number): Score {
  if (!(outcome instanceof EngineError))
    return { offensive: offensiveScore(manifest, outcome.probabilities), tokens: outcome.tokens };
  if (outcome.code === 'empty_after_normalization') return { offensive: 0, tokens: 0 };
  const { code, message, retryAfterMs } = outcome;
  throw new EngineError(code, message, { index, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });
}

function tokensOf(scores: readonly Score[]): number {
  return scores.reduce((sum, { tokens }) => sum + tokens, 0);
}
