/** Texts through the engine for a foreign protocol: what the log and the metrics are told is the same for all of them. */
import type { FastifyReply, FastifyRequest } from 'fastify';

import type { ServedModel, TextResult, Timing } from '../../engine/types.ts';
import { offensiveScore, roundScore } from '../../moderation/scores.ts';
import { layerMeans } from '../classify-response.ts';
import { abortSignal } from '../client-abort.ts';
import { engineProblem } from '../engine-problem.ts';
import type { CompatOptions } from './protocols.ts';

export interface Asked {
  /** As `Engine.find` takes it; the default model if absent. */
  readonly model?: string | undefined;
  readonly texts: readonly string[];
  readonly timeoutMs?: number | undefined;
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

export interface Classified {
  readonly model: ServedModel;
  /** One a text, in order. */
  readonly results: readonly Scored[];
  readonly timing: Timing;
}

/** @returns undefined when the client has gone: nobody is left to answer @throws Problem */
export async function classify(
  { engine, metrics }: Pick<CompatOptions, 'engine' | 'metrics'>,
  request: FastifyRequest,
  reply: FastifyReply,
  { pointTo, ...asked }: Asked,
): Promise<Classified | undefined> {
  request.outcome.texts = asked.texts.length;
  const signal = abortSignal(reply);
  const found = await engine.classify({ ...asked, signal }).catch((error: unknown) => {
    if (!signal.aborted) throw engineProblem(error, pointTo);
  });
  if (found === undefined) {
    reply.hijack();
    return undefined;
  }
  const { model, timing } = found;
  request.outcome.model = model.name;
  const results = found.results.map((result) => scored(model, result));
  for (const { label, exact } of results) metrics.classified(model.name, label, layerMeans(model, exact));
  return { model, results, timing };
}

function scored({ manifest }: ServedModel, exact: TextResult): Scored {
  const { probabilities, gates, tokens } = exact;
  return {
    label: manifest.labels[probabilities.indexOf(Math.max(...probabilities))] as string,
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
