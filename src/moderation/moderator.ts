/** Texts through the models of a policy, in as few engine calls as there are models, and the decision on each. */

import {
  type ClassifyRequest,
  type Engine,
  EngineError,
  type ServedModel,
  type TextOutcome,
  type TextResult,
  type Timing,
} from '../engine/types.ts';
import { decide, type Reading } from './decide.ts';
import { inspect } from './inspect.ts';
import type { DetectLanguage } from './language.ts';
import { BUILT_IN_POLICIES, type Policies } from './policies.ts';
import { DEFAULT_POLICY, type Policy } from './policy.ts';
import { offensiveScore } from './scores.ts';
import {
  type Evasion,
  type Language,
  type ModeratedText,
  type Moderation,
  ModerationError,
  type Moderator,
} from './types.ts';

export interface ModeratorOptions {
  readonly engine: Pick<Engine, 'classifyEach'>;
  /** Every policy there is now, by name. Default: only the built-in one. */
  readonly policies?: Pick<Policies, 'list'> | undefined;
  /** Languages are not looked at without it. */
  readonly detectLanguage?: DetectLanguage | undefined;
}

export function createModerator({ engine, policies = BUILT_IN_POLICIES, detectLanguage }: ModeratorOptions): Moderator {
  return {
    policies: () => policies.list(),
    async moderate({ policy: name, model, texts, ...options }) {
      const policy = choose(policies.list(), name ?? DEFAULT_POLICY.name);
      if (policy.models !== undefined && model !== undefined) {
        throw new ModerationError('model_and_policy', 'The policy names its models');
      }
      const models = policy.models?.map((own) => own.model) ?? [model];
      const inspections = await inspect(texts, detectLanguage);
      const folded = policy.evasion?.fold ? inspections.map(({ disguises }) => disguises.folded) : texts;
      const answers = await readTexts(engine, models, texts, folded, options);
      const served = answers.map((answer) => answer.model);
      return {
        policy,
        model: served[0] as ServedModel,
        timing: combineTimings(answers.map(({ timing }) => timing)),
        results: inspections.map(({ disguises, language: detected }, index) => {
          const outcomes = answers.map(({ outcomes }) => outcomes[index] as FoldedOutcome | EngineError);
          const failure = outcomes.find((outcome) => outcome instanceof EngineError);
          if (failure !== undefined) return failure;
          const language = detectLanguage === undefined ? undefined : judge(detected, served);
          return moderated(policy, served, outcomes as FoldedOutcome[], disguises.kinds, language);
        }),
      };
    },
  };
}

function choose(policies: readonly Policy[], name: string): Policy {
  const policy = policies.find((one) => one.name === name);
  if (policy !== undefined) return policy;
  const names = policies.map((one) => one.name).join(', ');
  throw new ModerationError('unknown_policy', `There is no such policy; there are ${names}`);
}

/** What one model says of one text: as it was sent, or folded where that scores higher. */
interface FoldedOutcome {
  readonly result: TextResult;
  readonly folded: boolean;
  readonly asSent: TextResult;
}

interface ModelAnswer {
  readonly model: ServedModel;
  readonly timing: Timing;
  readonly outcomes: readonly (FoldedOutcome | EngineError)[];
}

/**
 * Folded forms travel in the same call as the texts, so that they share batches.
 *
 * @param folded the text itself where there is nothing to undo
 */
async function readTexts(
  engine: Pick<Engine, 'classifyEach'>,
  models: readonly (string | undefined)[],
  texts: readonly string[],
  folded: readonly string[],
  options: Omit<ClassifyRequest, 'model' | 'texts'>,
): Promise<ModelAnswer[]> {
  const folds = folded.flatMap((text, index) => (text === texts[index] ? [] : [{ index, text }]));
  const all = [...texts, ...folds.map(({ text }) => text)];
  const answers = await Promise.all(models.map((model) => engine.classifyEach({ ...options, model, texts: all })));
  return answers.map(({ model, timing, results }) => {
    const foldedResults = new Map(folds.map(({ index }, position) => [index, results[texts.length + position]]));
    const outcomes = texts.map((_, index) => higher(model, results[index] as TextOutcome, foldedResults.get(index)));
    return { model, timing, outcomes };
  });
}

/** A folded form that cannot be answered counts for nothing. */
function higher(model: ServedModel, asSent: TextOutcome, folded: TextOutcome | undefined): FoldedOutcome | EngineError {
  if (asSent instanceof EngineError) return asSent;
  if (folded === undefined || folded instanceof EngineError) return { result: asSent, folded: false, asSent };
  const rises =
    offensiveScore(model.manifest, folded.probabilities) > offensiveScore(model.manifest, asSent.probabilities);
  return { result: rises ? folded : asSent, folded: rises, asSent };
}

function moderated(
  policy: Policy,
  models: readonly ServedModel[],
  outcomes: readonly FoldedOutcome[],
  kinds: Evasion['kinds'],
  language: Language | undefined,
): ModeratedText {
  const readings = outcomes.map(({ result, folded }, index): Reading => {
    return { model: models[index] as ServedModel, result, folded };
  });
  const [first, ...others] = outcomes as [FoldedOutcome, ...FoldedOutcome[]];
  const evasion: Evasion = first.folded
    ? {
        kinds,
        folded: true,
        offensiveAsSent: offensiveScore((models[0] as ServedModel).manifest, first.asSent.probabilities),
      }
    : { kinds, folded: false };
  return {
    ...first.result,
    ...decide(policy, readings, { evasion, language }),
    evasion,
    ...(language === undefined ? {} : { language }),
    others: others.map(({ result }, index) => ({ model: models[index + 1] as ServedModel, result })),
  };
}

/** A model that lists `pt-BR` reads `pt`: detectors do not tell regions apart. */
function judge(detected: string | undefined, models: readonly ServedModel[]): Language {
  if (detected === undefined) return { detected: null, supported: null };
  const lists = ({ manifest }: ServedModel) => manifest.languages.some((tag) => tag.split('-', 1)[0] === detected);
  return { detected, supported: models.every(lists) };
}

/** Models are read side by side: the longest wait, and the sums of the work. */
function combineTimings(timings: readonly Timing[]): Timing {
  return {
    queueMs: Math.max(...timings.map(({ queueMs }) => queueMs)),
    tokenizeMs: timings.reduce((sum, { tokenizeMs }) => sum + tokenizeMs, 0),
    inferenceMs: timings.reduce((sum, { inferenceMs }) => sum + inferenceMs, 0),
  };
}

/** @throws EngineError of the first text that has no answer: for callers that answer all texts or none */
export function allOrNothing({ results, ...rest }: Moderation): Moderation<ModeratedText> {
  return {
    ...rest,
    results: results.map((result) => {
      if (result instanceof EngineError) throw result;
      return result;
    }),
  };
}
