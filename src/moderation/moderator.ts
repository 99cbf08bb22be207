/** Texts through the models of a policy, in as few engine calls as there are models, and the decision on each. */
import { setImmediate as nextTurn } from 'node:timers/promises';

import {
  type ClassifyRequest,
  type Engine,
  EngineError,
  type ServedModel,
  type TextOutcome,
  type Timing,
} from '../engine/types.ts';
import { decideForms } from './decide.ts';
import { type Inspection, inspect } from './inspect.ts';
import type { DetectLanguage } from './language.ts';
import { BUILT_IN_POLICIES, type Policies } from './policies.ts';
import { DEFAULT_POLICY, type Policy } from './policy.ts';
import { offensiveScore } from './scores.ts';
import {
  type Evasion,
  type Form,
  type Forms,
  type Language,
  type ModeratedText,
  type Moderation,
  ModerationError,
  type Moderator,
  type TextReading,
} from './types.ts';

export interface ModeratorOptions {
  readonly engine: Pick<Engine, 'classifyEach'> & Partial<Pick<Engine, 'admit'>>;
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
      // What is refused should not cost the inspection.
      for (const one of models) engine.admit?.({ ...options, model: one, texts });
      const read = (folded: readonly string[]) => readTexts(engine, models, texts, folded, options);
      const [inspections, answers] = policy.evasion?.fold
        ? await inFoldedForm(texts, detectLanguage, read)
        : // The models run elsewhere meanwhile, once their work has been sent.
          await Promise.all([nextTurn().then(() => inspect(texts, detectLanguage)), read(texts)]);
      const served = answers.map((answer) => answer.model);
      return {
        policy,
        model: served[0] as ServedModel,
        timing: combineTimings(answers.map(({ timing }) => timing)),
        results: inspections.map(({ disguises, language: detected }, index) => {
          const language = detectLanguage === undefined ? undefined : judge(detected, served);
          return moderated(policy, answers, index, disguises.kinds, language);
        }),
      };
    },
  };
}

async function inFoldedForm(
  texts: readonly string[],
  detectLanguage: DetectLanguage | undefined,
  read: (folded: readonly string[]) => Promise<ModelAnswer[]>,
): Promise<[Inspection[], ModelAnswer[]]> {
  const inspections = await inspect(texts, detectLanguage);
  return [inspections, await read(inspections.map(({ disguises }) => disguises.folded))];
}

function choose(policies: readonly Policy[], name: string): Policy {
  const policy = policies.find((one) => one.name === name);
  if (policy !== undefined) return policy;
  const names = policies.map((one) => one.name).join(', ');
  throw new ModerationError('unknown_policy', `There is no such policy; there are ${names}`);
}

interface ModelAnswer {
  readonly model: ServedModel;
  readonly timing: Timing;
  readonly asSent: readonly TextOutcome[];
  /** Of the texts that have a folded form, by their index. */
  readonly folded: ReadonlyMap<number, TextOutcome>;
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
  return answers.map(({ model, timing, results }) => ({
    model,
    timing,
    asSent: results.slice(0, texts.length),
    folded: new Map(folds.map(({ index }, position) => [index, results[texts.length + position] as TextOutcome])),
  }));
}

/** @returns the error of the first model that has no answer to the text as it was sent */
function moderated(
  policy: Policy,
  answers: readonly ModelAnswer[],
  index: number,
  kinds: Evasion['kinds'],
  language: Language | undefined,
): ModeratedText | EngineError {
  const asSent = readingsOf(answers, ({ asSent }) => asSent[index] as TextOutcome, false);
  if (asSent instanceof EngineError) return asSent;
  const isFolded = answers.every(({ folded }) => folded.has(index));
  const folded = isFolded && readingsOf(answers, (answer) => answer.folded.get(index) as TextOutcome, true);
  // A folded form that a model cannot answer counts for nothing.
  const forms: Forms<TextReading> = folded === false || folded instanceof EngineError ? [asSent] : [asSent, folded];
  const { form, ...verdict } = decideForms(policy, forms, { evasion: { kinds }, language });
  const [first, ...others] = form;
  const evasion: Evasion = first.folded
    ? { kinds, folded: true, offensiveAsSent: offensiveScore(first.model.manifest, asSent[0].result.probabilities) }
    : { kinds, folded: false };
  return {
    ...first.result,
    ...verdict,
    evasion,
    ...(language === undefined ? {} : { language }),
    others,
    forms,
  };
}

/** @returns the error of the first model that has no answer to this form of the text */
function readingsOf(
  answers: readonly ModelAnswer[],
  outcomeOf: (answer: ModelAnswer) => TextOutcome,
  folded: boolean,
): Form<TextReading> | EngineError {
  const readings: TextReading[] = [];
  for (const answer of answers) {
    const result = outcomeOf(answer);
    if (result instanceof EngineError) return result;
    readings.push({ model: answer.model, result, folded });
  }
  // A policy has at least one model.
  return readings as [TextReading, ...TextReading[]];
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
