/** A fetch that tries again while the service is overloaded, restarting or out of reach. */

export interface RetryOptions {
  /** Tries of one request, the first included. Default 6. */
  readonly attempts?: number;
  /** Milliseconds for all tries and the waits between them. Default 120000. */
  readonly totalMs?: number;
  /** Milliseconds of the first wait; each further one may be twice as long. Default 250. */
  readonly firstWaitMs?: number;
  /** Milliseconds of the longest wait that is chosen here; a `Retry-After` may ask for more. Default 15000. */
  readonly longestWaitMs?: number;
}

export interface RetryMeans {
  /** A number in [0, 1). */
  random(): number;
  /** Milliseconds since the epoch. */
  now(): number;
}

type Fetch = (request: Request) => Promise<Response>;

/** Overloaded, and starting or shutting down: the service says itself that another try may succeed. */
const RETRIED = new Set([429, 503]);

/**
 * Classifying changes nothing, so a request whose answer was lost is sent again as well.
 *
 * @returns a fetch that answers with the last answer when tries or time are used up, and throws the last error, or the
 * reason of the request's signal
 */
export function retryingFetch(
  fetch: Fetch,
  { attempts = 6, totalMs = 120_000, firstWaitMs = 250, longestWaitMs = 15_000 }: RetryOptions = {},
  { random, now }: RetryMeans = { random: Math.random, now: Date.now },
): Fetch {
  return async (request) => {
    const timeLimit = AbortSignal.timeout(totalMs);
    const signal = AbortSignal.any([request.signal, timeLimit]);
    const end = now() + totalMs;
    for (let attempt = 1; ; attempt++) {
      const outcome = await fetch(new Request(request.clone(), { signal })).catch((error: unknown) => ({ error }));
      signal.throwIfAborted();
      const failed = 'error' in outcome;
      if (!failed && !RETRIED.has(outcome.status)) return outcome;

      // Half of it by chance, so that clients which failed together do not come back together.
      const chosen = Math.min(longestWaitMs, firstWaitMs * 2 ** (attempt - 1)) * (0.5 + random() / 2);
      const wait = Math.max(chosen, failed ? 0 : (retryAfterMs(outcome.headers, now()) ?? 0));
      if (attempt >= attempts || now() + wait >= end) {
        if (failed) throw outcome.error;
        return outcome;
      }
      if (!failed) await outcome.body?.cancel();
      await sleep(wait, signal);
    }
  };
}

/**
 * What a `Retry-After` asks for (RFC 9110, section 10.2.3): seconds, or a date.
 *
 * @returns milliseconds from now; undefined without a header that can be read
 */
export function retryAfterMs(headers: Headers, now: number): number | undefined {
  const value = headers.get('retry-after')?.trim();
  if (value === undefined) return undefined;
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** @throws the signal's reason */
function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', abort);
      resolve();
    }, milliseconds);
    signal.addEventListener('abort', abort, { once: true });
  });
}
