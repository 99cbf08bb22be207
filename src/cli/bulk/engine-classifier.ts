/** Answers from an engine of this process: the same as the service's, without HTTP. */
import { setTimeout as wait } from 'node:timers/promises';

import { classifyResponse, score } from '../../api/classify-response.ts';
import type { Config } from '../../config.ts';
import { createEngine } from '../../engine/engine.ts';
import { ReferencesError } from '../../engine/references.ts';
import { type ClassifyRequest, type Engine, EngineError, type ServedModel } from '../../engine/types.ts';
import { thresholdValue } from '../../moderation/decide.ts';
import type { DetectLanguage } from '../../moderation/language.ts';
import { createModerator } from '../../moderation/moderator.ts';
import { createPolicies, PolicyError } from '../../moderation/policies.ts';
import type { Policy } from '../../moderation/policy.ts';
import type { Classifier, ClassifierOptions, Outcome } from './classifier.ts';
import { refuse } from './failure.ts';

/** Nobody waits at the other end. Milliseconds; the longest that a timer can take is 24 days. */
const PATIENCE_MS = 24 * 3_600_000;
/** The queue is as long as this process makes it. */
const UNLIMITED = {
  queueWindows: 1_048_576,
  queueTokens: 1_073_741_824,
  queueCharacters: 1_073_741_824,
  queueWaitMs: PATIENCE_MS,
};
const RETRY_MS = 250;

export interface EngineClassifierOptions extends ClassifierOptions {
  readonly policiesDir: string | undefined;
}

/** @throws BulkError when there is no such model or policy */
export async function createEngineClassifier(config: Config, options: EngineClassifierOptions): Promise<Classifier> {
  const engine = await createEngine({ ...config, ...UNLIMITED, shadows: [] }).catch((error: unknown) =>
    refuse(
      error instanceof ReferencesError
        ? `These settings name models that are not there: ${error.problems.join('; ')}`
        : `--models-dir (${config.modelsDir}) cannot be read: name a folder that holds bundles.`,
    ),
  );
  try {
    return await classifierOf(engine, config, options);
  } catch (error) {
    await engine.close();
    throw error;
  }
}

async function classifierOf(engine: Engine, config: Config, options: EngineClassifierOptions): Promise<Classifier> {
  const policy = await findPolicy(engine, options);
  const reference = policy?.models?.[0]?.model ?? options.model;
  const served = engine.find(reference) ?? refuse(unknownModel(engine, config.modelsDir, reference));
  const { name, version, manifest } = served;
  const answer =
    policy === undefined
      ? scoring(engine, served, options)
      : deciding(engine, policy, await detectorOf(config), options);
  const model = policy?.models === undefined ? { model: `${name}@${version}` } : {};
  return {
    model: { name, version, createdAt: manifest.createdAt, labels: manifest.labels, gates: manifest.gates },
    limits: { texts: 256, characters: 256 * 1024 },
    async classify(texts, signal) {
      // Not as bulk: nobody is there to be held up, and only interactive texts are handed to a process while it runs others.
      const request = { ...model, texts, signal, timeoutMs: PATIENCE_MS };
      return whenAdmitted(() => answer(request), signal);
    },
    close: () => engine.close(),
  };
}

type Answering = (request: ClassifyRequest) => Promise<readonly Outcome[]>;

/** Without a policy nobody asks for disguises, and looking for them is a fifth of what this process has to do. */
function scoring(engine: Engine, served: ServedModel, options: ClassifierOptions): Answering {
  const threshold = thresholdValue(options.threshold, served);
  return async (request) => {
    const { model, results } = await engine.classifyEach(request);
    return results.map((result) => {
      if (result instanceof EngineError) return { error: { code: result.code } };
      const scores = score(model.manifest, result, options.gates);
      return { ...scores, flagged: scores.offensive >= threshold };
    });
  };
}

function deciding(
  engine: Engine,
  policy: Policy,
  detectLanguage: DetectLanguage | undefined,
  options: ClassifierOptions,
): Answering {
  const { moderate } = createModerator({ engine, detectLanguage, policies: { list: () => [policy] } });
  return async (request) => {
    const found = await moderate({ ...request, policy: policy.name });
    return classifyResponse(found, options, (index) => `/${index}`).results;
  };
}

async function whenAdmitted<T>(ask: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof EngineError) || error.code !== 'overloaded') throw error;
      await wait(error.retryAfterMs ?? RETRY_MS, undefined, { signal });
    }
  }
}

/** Languages cost more than all the rest of moderation, and only policies look at them. */
async function detectorOf({ languageDetection }: Config): Promise<DetectLanguage | undefined> {
  if (languageDetection === 'off') return undefined;
  const { detectLanguage } = await import('../../moderation/language.ts');
  return detectLanguage;
}

async function findPolicy(
  engine: Engine,
  { policy: name, policiesDir, model }: EngineClassifierOptions,
): Promise<Policy | undefined> {
  if (name === undefined) return undefined;
  const policies = await createPolicies({ folder: policiesDir, engine }).catch((error: unknown) =>
    refuse(error instanceof PolicyError ? `--policies-dir: ${error.problems.join('\n')}` : `${error}`),
  );
  const found = policies.list().find((policy) => policy.name === name);
  if (found === undefined) {
    return refuse(
      `There is no policy ${name}. There are: ${policies
        .list()
        .map((policy) => policy.name)
        .join(', ')}.`,
    );
  }
  if (found.models !== undefined && model !== undefined)
    refuse(`The policy ${name} names its models: leave --model out.`);
  return found;
}

function unknownModel(engine: Engine, modelsDir: string, reference: string | undefined): string {
  const names = engine.models().map(({ name }) => name);
  const refused = engine.refused().map(({ folder, reason }) => `${folder}: ${reason}`);
  const choice = names.length > 0 ? `There are: ${names.join(', ')}.` : 'It holds no bundle that can be used.';
  return [`No model ${reference ?? 'at all'} in ${modelsDir}. ${choice}`, ...refused].join('\n');
}
