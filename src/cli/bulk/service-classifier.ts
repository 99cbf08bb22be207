/** Answers from a running service, over its HTTP API. */
import pLimit from 'p-limit';

import { createClient, type DsLoraClient, ServiceError } from '../../../clients/typescript/src/index.ts';
import type { Classifier, ClassifierOptions } from './classifier.ts';
import { BulkError, EXIT, refuse } from './failure.ts';

export interface ServiceOptions extends ClassifierOptions {
  readonly url: string;
  readonly apiKey: string | undefined;
  /** Requests at the same time. */
  readonly concurrency: number;
}

/** Milliseconds that a request may take, waiting behind others included. */
const PATIENCE_MS = 600_000;
/** A service that restarts is waited for; a run that was broken off can go on, so not for ever. */
const RETRY = { attempts: 20, totalMs: PATIENCE_MS, longestWaitMs: 30_000 };
/**
 * What the service takes by default. Units of UTF-16: in JSON each may become six bytes, of 1 MiB that a body may have.
 */
const LIMITS = { texts: 256, characters: 160_000 };

export async function createServiceClassifier({
  url,
  apiKey,
  concurrency,
  ...options
}: ServiceOptions): Promise<Classifier> {
  if (!URL.canParse(url)) refuse(`--url must be an address such as http://localhost:8080, got ${url}.`);
  const client = createClient({
    baseUrl: url,
    retry: RETRY,
    headers: { 'x-request-timeout-ms': `${PATIENCE_MS}` },
    ...(apiKey === undefined ? {} : { apiKey }),
  });
  const own = options.policy === undefined ? undefined : await modelOfPolicy(client, options.policy, options.model);
  const model = await findModel(client, url, own ?? options.model);
  const limit = pLimit(concurrency);
  return {
    model,
    limits: LIMITS,
    classify: (texts, signal) =>
      limit(async () => {
        const { threshold, gates, policy } = options;
        const reference = own === undefined ? { model: `${model.name}@${model.version}` } : {};
        const decided = policy === undefined ? {} : { policy };
        const request = { texts: [...texts], threshold, gates, ...reference, ...decided };
        try {
          const answer = await client.classify({ ...request, priority: 'bulk', onError: 'item' }, { signal });
          if (answer.model.version !== model.version) throw changed(model.name);
          return answer.results;
        } catch (error) {
          signal.throwIfAborted();
          throw error instanceof ServiceError ? new BulkError(EXIT.failed, inWords(error), { cause: error }) : error;
        }
      }),
    async close() {},
  };
}

/** @returns the first model that the policy names; undefined when it takes the request's */
async function modelOfPolicy(
  client: DsLoraClient,
  name: string,
  model: string | undefined,
): Promise<string | undefined> {
  const { data } = await client.http.GET('/policies');
  const policies = data?.policies ?? [];
  const policy = policies.find((one) => one.name === name);
  if (policy === undefined) {
    return refuse(`The service has no policy ${name}. It has: ${policies.map((one) => one.name).join(', ')}.`);
  }
  const own = policy.models?.[0]?.model;
  if (own !== undefined && model !== undefined) refuse(`The policy ${name} names its models: leave --model out.`);
  return own;
}

async function findModel(client: DsLoraClient, url: string, wanted: string | undefined): Promise<Classifier['model']> {
  const { models } = await client
    .models({ signal: AbortSignal.timeout(30_000) })
    .catch((error: unknown) =>
      refuse(
        error instanceof ServiceError
          ? `The service at ${url} did not tell its models: ${inWords(error)}`
          : `No service answers at ${url}: start it, or correct --url.`,
      ),
    );
  const found = models.find(({ name, default: standard }) => (wanted === undefined ? standard : name === wanted));
  if (found !== undefined) return found;
  return refuse(
    `The service has no model ${wanted ?? 'at all'}. It has: ${models.map(({ name }) => name).join(', ')}.`,
  );
}

/** Rows of one output must not come from two models. */
function changed(name: string): BulkError {
  return new BulkError(
    EXIT.failed,
    `The service now answers with another version of ${name}. Serve the former one again, or start anew with --overwrite.`,
  );
}

function inWords({ status, problem, message }: ServiceError): string {
  return `status ${status}: ${message}${problem === undefined ? '' : ` (${problem.code}). ${problem.remedy}`}`;
}
