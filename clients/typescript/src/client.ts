/** The client: one method a task, and openapi-fetch with the same retries for every other route. */
import createFetch, { type Client } from 'openapi-fetch';

import type { components, paths } from './openapi.ts';
import { type RetryOptions, retryingFetch } from './retry.ts';
import { ServiceError } from './service-error.ts';

export type ClassifyRequest = components['schemas']['ClassifyRequest'];
export type ClassifyResponse = components['schemas']['ClassifyResponse'];
export type Models = components['schemas']['Models'];
export type Policies = components['schemas']['Policies'];
type Result = ClassifyResponse['results'][number];
/** A text's answer. */
export type ClassifyResult = Exclude<Result, { error: unknown }>;
/** An answer to a request that is answered as a whole or not at all. */
export type WholeResponse = Omit<ClassifyResponse, 'results'> & { results: ClassifyResult[] };

export interface ClientOptions {
  /** Where the service listens, such as `http://localhost:8080`. */
  readonly baseUrl: string;
  /** Sent as a bearer token, where something in between asks for one. */
  readonly apiKey?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly retry?: RetryOptions;
  /** Default: the global one. */
  readonly fetch?: (request: Request) => Promise<Response>;
}

export interface CallOptions {
  /** Aborts the request and the wait for another try. */
  readonly signal?: AbortSignal;
}

/** Each method throws a ServiceError for an answer that is an error, and the signal's reason. */
export interface DsLoraClient {
  /** With `onError: 'item'` texts fail alone: look for `error` in each result. */
  classify(request: ClassifyRequest & { onError: 'item' }, options?: CallOptions): Promise<ClassifyResponse>;
  classify(request: ClassifyRequest & { onError?: 'request' }, options?: CallOptions): Promise<WholeResponse>;
  models(options?: CallOptions): Promise<Models>;
  policies(options?: CallOptions): Promise<Policies>;
  /** Every route, typed: https://openapi-ts.dev/openapi-fetch */
  readonly http: Client<paths>;
}

export function createClient({ baseUrl, apiKey, headers, retry, fetch }: ClientOptions): DsLoraClient {
  const http = createFetch<paths>({
    baseUrl,
    fetch: retryingFetch(fetch ?? ((request) => globalThis.fetch(request)), retry),
    headers: { ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }), ...headers },
  });
  return {
    http,
    async classify(body: ClassifyRequest, options: CallOptions = {}) {
      return dataOf(await http.POST('/classify', { body, ...options })) as WholeResponse;
    },
    async models(options = {}) {
      return dataOf(await http.GET('/models', { ...options }));
    },
    async policies(options = {}) {
      return dataOf(await http.GET('/policies', { ...options }));
    },
  };
}

/** @throws ServiceError */
function dataOf<T>({ data, error, response }: { data?: T; error?: unknown; response: Response }): T {
  if (data === undefined) throw new ServiceError(response, error);
  return data;
}
