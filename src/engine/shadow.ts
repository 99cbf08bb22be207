/**
 * Shadows: a share of one model's texts is classified by a second one as well, and only the difference is kept.
 *
 * It begins when the answer is known, at bulk priority, and not at all while anything waits, so a text that arrives
 * meanwhile waits for one batch of the shadow at most.
 */
import { mostProbable } from '../bundle/labels.ts';
import type { Model } from './bring-up.ts';
import type { ShadowRule } from './references.ts';
import {
  type Classification,
  type ClassifyRequest,
  type Divergence,
  EngineError,
  type EngineObserver,
  type ServedModel,
  type TextOutcome,
  type TextResult,
} from './types.ts';

export interface Shadows {
  /** To be told of every answer. */
  follow(model: Model, texts: readonly string[], outcomes: readonly TextOutcome[]): void;
  close(): void;
}

export function createShadows(options: {
  readonly rules: readonly ShadowRule[];
  readonly find: (reference: string) => Model | undefined;
  /** Windows and texts that wait for anything. */
  readonly waiting: () => number;
  /** Requests of shadows at one time. */
  readonly limit: number;
  readonly classify: (model: Model, request: ClassifyRequest) => Promise<Classification<TextOutcome>>;
  readonly observer: Partial<EngineObserver>;
  /** 0 to 1; which texts are taken. */
  readonly random?: () => number;
}): Shadows {
  const { rules, find, limit, observer, random = Math.random } = options;
  const ended = new AbortController();
  let inFlight = 0;

  async function compare(model: Model, shadow: Model, texts: readonly string[], answers: readonly TextResult[]) {
    const told = { model: model.served, shadow: shadow.served };
    const drop = () => {
      for (const _ of texts) observer.shadowed?.({ ...told, outcome: 'dropped' });
    };
    if (inFlight >= limit || options.waiting() > 0) return drop();
    inFlight++;
    try {
      const { results } = await options.classify(shadow, { texts, priority: 'bulk', signal: ended.signal });
      results.forEach((other, i) => {
        if (other instanceof EngineError) observer.shadowed?.({ ...told, outcome: 'failed' });
        else {
          const divergence = divergenceOf(model.served, answers[i] as TextResult, shadow.served, other);
          observer.shadowed?.({ ...told, outcome: 'compared', divergence });
        }
      });
    } catch (error) {
      if (ended.signal.aborted) return;
      if (error instanceof EngineError && error.code === 'overloaded') return drop();
      for (const _ of texts) observer.shadowed?.({ ...told, outcome: 'failed' });
    } finally {
      inFlight--;
    }
  }

  return {
    follow(model, texts, outcomes) {
      for (const rule of rules) {
        if (find(rule.model) !== model) continue;
        const shadow = find(rule.shadow);
        if (shadow === undefined || shadow === model) continue;
        const chosen = outcomes.flatMap((outcome, i) =>
          outcome instanceof EngineError || random() >= rule.share ? [] : [{ text: texts[i] as string, outcome }],
        );
        if (chosen.length === 0) continue;
        const own = chosen.map(({ text }) => text);
        const answers = chosen.map(({ outcome }) => outcome);
        // The answer leaves first.
        setImmediate(() => void compare(model, shadow, own, answers));
      }
    },
    close: () => ended.abort(),
  };
}

/** How far two models' answers to one text are apart. */
export function divergenceOf(a: ServedModel, x: TextResult, b: ServedModel, y: TextResult): Divergence {
  const sameLabels = sameList(a.manifest.labels, b.manifest.labels);
  const columns = (model: ServedModel) => model.manifest.gates.map(({ layer, module }) => `${layer}/${module}`);
  const sameGates = a.manifest.gates.length > 0 && sameList(columns(a), columns(b));
  return {
    labelFlip: sameLabels ? mostProbable(x.probabilities) !== mostProbable(y.probabilities) : undefined,
    flagFlip: isFlagged(a, x) !== isFlagged(b, y),
    probabilities: sameLabels ? meanDifference(x.probabilities, y.probabilities) : undefined,
    gates: sameGates ? meanDifference(x.gates, y.gates) : undefined,
  };
}

function isFlagged({ manifest }: ServedModel, { probabilities }: TextResult): boolean {
  const offensive = manifest.positiveLabels.reduce(
    (sum, label) => sum + (probabilities[manifest.labels.indexOf(label)] ?? 0),
    0,
  );
  return offensive >= manifest.thresholds.balanced.value;
}

const sameList = (a: readonly string[], b: readonly string[]) =>
  a.length === b.length && a.every((value, i) => value === b[i]);

function meanDifference(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + Math.abs(value - (b[i] as number)), 0) / a.length;
}
