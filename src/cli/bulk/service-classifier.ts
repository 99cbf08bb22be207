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
const RETRY = { attempts: 30, totalMs: PATIENCE_MS, longestWaitMs: 30_000 };
/** A wrong address is told soon. */
const FIRST_CONTACT = { attempts: 3, totalMs: 10_000 };
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
  const connection = {
    baseUrl: url,
    headers: { 'x-request-timeout-ms': `${PATIENCE_MS}` },
    ...(apiKey === undefined ? {} : { apiKey }),
  };
  const first = createClient({ ...connection, retry: FIRST_CONTACT });
  const own = options.policy === undefined ? undefined : await modelOfPolicy(first, url, options.policy, options.model);
  const model = await findModel(first, url, own ?? options.model);
  const client = createClient({ ...connection, retry: RETRY });
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
          if (error instanceof BulkError) throw error;
          const what = error instanceof ServiceError ? inWords(error) : `the service at ${url} cannot be reached`;
          throw new BulkError(EXIT.failed, what, { cause: error });
        }
      }),
    async close() {},
  };
}

/** @returns the first model that the policy names; undefined when it takes the request's */
async function modelOfPolicy(
  client: DsLoraClient,
  url: string,
  name: string,
  model: string | undefined,
): Promise<string | undefined> {
  const { policies } = await client.policies().catch(unreachable(url));
  const policy = policies.find((one) => one.name === name);
  if (policy === undefined) {
    return refuse(`The service has no policy ${name}. It has: ${policies.map((one) => one.name).join(', ')}.`);
  }
  const own = policy.models?.[0]?.model;
  if (own !== undefined && model !== undefined) refuse(`The policy ${name} names its models: leave --model out.`);
  return own;
}

async function findModel(client: DsLoraClient, url: string, wanted: string | undefined): Promise<Classifier['model']> {
  const { models } = await client.models().catch(unreachable(url));
  const found = models.find(({ name, version, default: standard }) =>
    wanted === undefined ? standard : wanted === name || wanted === `${name}@${version}`,
  );
  if (found !== undefined) return found;
  return refuse(
    `The service has no model ${wanted ?? 'at all'}. It has: ${models.map(({ name }) => name).join(', ')}.`,
  );
}

const unreachable = (url: string) => (error: unknown) =>
  refuse(
    error instanceof ServiceError
      ? `The service at ${url} does not say what it serves: ${inWords(error)}`
      : `No service answers at ${url}: start it, or correct --url.`,
  );

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
