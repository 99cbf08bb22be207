/** Classifies with everything this page shows, and without explanations where the service has switched them off. */
import { classify, ProblemError } from './service.js';

/**
 * @param {import('./service.js').Body} body
 * @param {AbortSignal} signal
 */
export async function classifyExplained(body, signal) {
  try {
    return await classify({ ...body, explain: true }, signal);
  } catch (error) {
    if (error instanceof ProblemError && error.problem.code === 'too_many_to_explain') return classify(body, signal);
    throw error;
  }
}

/** What this page always asks for. */
export const EVERYTHING = { gates: 'percentiles', windows: true };
