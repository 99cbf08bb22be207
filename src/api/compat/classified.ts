/** Texts through the engine for a foreign protocol: what the log and the metrics are told is the same for all of them. */
import type { FastifyReply, FastifyRequest } from 'fastify';

import { mostProbable } from '../../bundle/labels.ts';
import {
  type Classification,
  type ClassifyRequest,
  EngineError,
  type ServedModel,
  type TextOutcome,
  type TextResult,
  type Timing,
} from '../../engine/types.ts';
import { offensiveScore, roundScore } from '../../moderation/scores.ts';
import { layerMeans } from '../classify-response.ts';
import { abortSignal } from '../client-abort.ts';
import { engineProblem } from '../engine-problem.ts';
import { readTimeout } from '../request-timeout.ts';
import type { CompatOptions } from './protocols.ts';

export interface Asked {
  /** As `Engine.find` takes it; the default model if absent. */
  readonly model?: string | undefined;
  readonly texts: readonly string[];
  /** What the protocol itself says; the header `X-Request-Timeout-Ms` if absent. */
  readonly timeoutMs?: number | undefined;
  /** How many of the texts, from the first on, are counted as such; the others are parts of them. All, if absent. */
  readonly counted?: number | undefined;
  /** @returns the JSON Pointer of the text with that index */
  pointTo(index: number): string;
}

/** The numbers of one text as the native route shows them. */
export interface Scored {
  /** The most probable class. */
  readonly label: string;
  /** In the order of `manifest.labels`, six decimals. */
  readonly probabilities: readonly number[];
  readonly offensive: number;
  /** In the order of `manifest.gates`, six decimals. */
  readonly gates: readonly number[];
  readonly tokens: number;
  /** As the engine gave it: what ranks equal rounded numbers, and what a logarithm needs. */
  readonly exact: TextResult;
}

export interface Classified<Result = Scored> {
  readonly model: ServedModel;
  /** One a text, in order. */
  readonly results: readonly Result[];
  readonly timing: Timing;
}

type Options = Pick<CompatOptions, 'engine' | 'metrics'>;

/** @returns undefined when the client has gone: nobody is left to answer @throws Problem; the first text at fault decides */
export function classify(
  options: Options,
  request: FastifyRequest,
  reply: FastifyReply,
  asked: Asked,
): Promise<Classified | undefined> {
  return answer(options, request, reply, asked, (question) => options.engine.classify(question));
}

/** As `classify`, but texts fail alone. @throws Problem for what concerns the whole request */
export function classifyEach(
  options: Options,
  request: FastifyRequest,
  reply: FastifyReply,
  asked: Asked,
): Promise<Classified<Scored | EngineError> | undefined> {
  return answer(options, request, reply, asked, (question) => options.engine.classifyEach(question));
}

/** A result that is no error stays none. */
type ScoredAs<Outcome> = Outcome extends TextResult ? Scored : Outcome;

async function answer<Outcome extends TextOutcome>(
  { metrics }: Options,
  request: FastifyRequest,
  reply: FastifyReply,
  { pointTo, counted = Number.POSITIVE_INFINITY, ...asked }: Asked,
  ask: (question: ClassifyRequest) => Promise<Classification<Outcome>>,
): Promise<Classified<ScoredAs<Outcome>> | undefined> {
  request.outcome.texts = Math.min(asked.texts.length, counted);
  request.takeTexts(request.outcome.texts);
  const timeoutMs = asked.timeoutMs ?? readTimeout(request.headers);
  const signal = abortSignal(reply);
  const found = await ask({ ...asked, timeoutMs, signal }).catch((error: unknown) => {
    if (!signal.aborted) throw engineProblem(error, pointTo);
  });
  if (found === undefined) {
    reply.hijack();
    return undefined;
  }
  const { model, timing } = found;
  request.outcome.model = model.name;
  const results = found.results.map((outcome) => (outcome instanceof EngineError ? outcome : scored(model, outcome)));
  for (const result of results.slice(0, counted)) {
    if (result instanceof EngineError) continue;
    metrics.classified(model.name, result.label, layerMeans(model, result.exact));
    metrics.scored(model, result.exact);
  }
  return { model, results: results as ScoredAs<Outcome>[], timing };
}

function scored({ manifest }: ServedModel, exact: TextResult): Scored {
  const { probabilities, gates, tokens } = exact;
  return {
    label: manifest.labels[mostProbable(probabilities)] as string,
    probabilities: probabilities.map(roundScore),
    offensive: offensiveScore(manifest, probabilities),
    gates: gates.map(roundScore),
    tokens,
    exact,
  };
}

/**
 * What protocols call raw scores. The temperature is part of a graph, and its softmax forgets what all logits have in
 * common, so the logits of training are not to be had; these are logits all the same, since their softmax is the
 * probabilities. Of the smallest float32 where the model said zero: minus infinity is not JSON.
 */
export function logProbability(probability: number): number {
  return roundScore(Math.log(Math.max(probability, 2 ** -149)));
}
