/** The service's API, as this page uses it. */
import { keyHeaders } from './key.js';

/**
 * @typedef {{ readonly name: string, readonly version: string }} ModelReference
 * @typedef {{ readonly name: string, readonly version: string, readonly default: boolean, readonly description: string,
 *   readonly labels: readonly string[], readonly positiveLabels: readonly string[], readonly maxTokens: number,
 *   readonly thresholds: Readonly<Record<string, { readonly value: number, readonly precision: number, readonly recall: number }>> }} Model
 * @typedef {{ readonly name: string, readonly version: string, readonly default: boolean, readonly description?: string,
 *   readonly models?: readonly { readonly model: string }[] }} Policy
 * @typedef {{ readonly layer: number, readonly [module: string]: number }} Layer
 * @typedef {{ readonly mean: number, readonly layers: readonly Layer[],
 *   readonly percentiles?: { readonly mean?: number, readonly layers: readonly Layer[] } }} Gates
 * @typedef {{ readonly label: string, readonly score: number, readonly offensive: number,
 *   readonly probabilities: Readonly<Record<string, number>>, readonly gates?: Gates | null, readonly tokens: number }} Scores
 * @typedef {{ readonly begin: number, readonly end: number, readonly contribution: number }} Span
 * @typedef {{ readonly passage: { readonly begin: number, readonly end: number }, readonly offensive: number,
 *   readonly spans: readonly Span[], readonly words: number, readonly variants: number, readonly tokens: number }} Explanation
 * @typedef {{ readonly code: string, readonly model?: string, readonly label?: string, readonly value?: number,
 *   readonly threshold?: number, readonly folded?: true, readonly kinds?: readonly string[] }} Reason
 * @typedef {Scores & { readonly flagged: boolean, readonly windows: number, readonly windowResults?: readonly Scores[],
 *   readonly explanation?: Explanation, readonly decision: 'allow' | 'review' | 'block', readonly reasons: readonly Reason[],
 *   readonly evasion?: { readonly kinds: Readonly<Record<string, number>>, readonly folded: boolean, readonly offensiveAsSent?: number },
 *   readonly language?: { readonly detected: string | null, readonly supported: boolean | null },
 *   readonly otherModels?: readonly (Scores & { readonly model: ModelReference })[],
 *   readonly error?: undefined }} Result
 * @typedef {{ readonly error: Problem }} Failed
 * @typedef {{ readonly model: ModelReference,
 *   readonly policy: { readonly name: string, readonly version: string }, readonly threshold: number,
 *   readonly results: readonly (Result | Failed)[],
 *   readonly timing: { readonly queueMs: number, readonly tokenizeMs: number, readonly inferenceMs: number, readonly explainMs?: number } }} Answer
 * @typedef {{ readonly status: number, readonly code: string, readonly title: string, readonly detail?: string,
 *   readonly pointer?: string, readonly remedy?: string }} Problem
 * @typedef {Readonly<Record<string, unknown>>} Body
 */

/** An answer that is an error, as the service's problem document says it. */
export class ProblemError extends Error {
  /**
   * @param {Problem} problem
   * @param {number | undefined} retryAfterMs
   */
  constructor(problem, retryAfterMs) {
    super(problem.title);
    this.problem = problem;
    this.retryAfterMs = retryAfterMs;
  }
}

/** @returns {Promise<readonly Model[]>} */
export async function fetchModels() {
  return (await call('/models')).models;
}

/** @returns {Promise<readonly Policy[]>} */
export async function fetchPolicies() {
  return (await call('/policies')).policies;
}

/**
 * @param {Body} body
 * @param {AbortSignal} [signal]
 * @returns {Promise<Answer>}
 */
export function classify(body, signal) {
  return call('/classify', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    ...(signal === undefined ? {} : { signal }),
  });
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 */
async function call(path, init) {
  const headers = { ...init?.headers, ...keyHeaders() };
  const response = await fetch(path, { ...init, headers }).catch((/** @type {unknown} */ error) => {
    if (init?.signal?.aborted) throw error;
    throw new ProblemError(
      {
        status: 0,
        code: 'unreachable',
        title: 'The service cannot be reached',
        remedy: 'See whether it still runs, then try again.',
      },
      undefined,
    );
  });
  if (response.ok) return response.json();
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  const problem = await response.json().catch(() => ({
    status: response.status,
    code: 'unexpected',
    title: `The service answered with status ${response.status}`,
    remedy: 'Something between this page and the service may have answered in its place.',
  }));
  throw new ProblemError(problem, Number.isNaN(seconds) ? undefined : seconds * 1000);
}
