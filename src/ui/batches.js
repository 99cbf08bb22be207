/** Classifies many texts in requests of bounded size; a text that cannot be classified costs only itself. */
import { classify, ProblemError } from './service.js';

const TEXTS_A_REQUEST = 64;
/** UTF-16 code units of a request: well below the default limit of a body, whatever the script. */
const CHARACTERS_A_REQUEST = 150_000;
const TRIES = 6;

/**
 * @typedef {import('./service.js').Result | import('./service.js').Failed} Outcome
 * @typedef {{ readonly from: number, readonly outcomes: readonly Outcome[], readonly threshold: number | undefined }} Batch
 */

/**
 * @param {readonly string[]} texts
 * @param {import('./service.js').Body} options of each request
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<Batch, void>}
 */
export async function* classifyAll(texts, options, signal) {
  for (let from = 0; from < texts.length; ) {
    let to = from;
    for (let characters = 0; to < texts.length && to - from < TEXTS_A_REQUEST; to += 1) {
      characters += /** @type {string} */ (texts[to]).length;
      if (characters > CHARACTERS_A_REQUEST && to > from) break;
    }
    yield { from, ...(await classifyBatch(texts.slice(from, to), options, signal)) };
    from = to;
  }
}

/**
 * @param {readonly string[]} texts
 * @param {import('./service.js').Body} options
 * @param {AbortSignal} signal
 * @returns {Promise<{ outcomes: Outcome[], threshold: number | undefined }>}
 */
async function classifyBatch(texts, options, signal) {
  /** Those that the service refuses before it looks at any, by index. @type {Map<number, import('./service.js').Failed>} */
  const refused = new Map();
  for (let tries = 1; ; ) {
    const sent = [...texts.keys()].filter((index) => !refused.has(index));
    if (sent.length === 0) return { outcomes: [...refused.values()], threshold: undefined };
    try {
      const { results, threshold } = await classify({ ...options, texts: sent.map((index) => texts[index]) }, signal);
      const outcomes = [...texts.keys()].map((index) => refused.get(index) ?? results[sent.indexOf(index)]);
      return { outcomes: /** @type {Outcome[]} */ (outcomes), threshold };
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      const culprit = sent[Number(/^\/texts\/(\d+)$/.exec(error.problem.pointer ?? '')?.[1] ?? Number.NaN)];
      if (culprit !== undefined) {
        refused.set(culprit, { error: error.problem });
      } else if (error.retryAfterMs !== undefined && tries < TRIES) {
        tries += 1;
        await wait(error.retryAfterMs, signal);
      } else {
        throw error;
      }
    }
  }
}

/**
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 */
function wait(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
