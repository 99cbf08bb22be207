/**
 * Waiting in a queue with Poisson arrivals and c servers: M/M/c exactly, M/G/c by Allen and Cunneen's approximation
 * (Allen, Probability, Statistics and Queueing Theory, 2nd edition 1990, section 5.4), which is exact for M/M/c and M/G/1.
 *
 * Times are in seconds, rates a second.
 */
export interface Queue {
  readonly servers: number;
  /** Mean time that one server works on one arrival. */
  readonly serviceSeconds: number;
  /** Variance of that time over its squared mean. */
  readonly serviceScv: number;
}

/** The highest arrival rate, which is never reached. */
export function capacity({ servers, serviceSeconds }: Queue): number {
  return servers / serviceSeconds;
}

/** Erlang's C: the probability that an arrival must wait. @param utilization 0 to 1, exclusive */
export function waitProbability(servers: number, utilization: number): number {
  // Erlang's B by its recursion, which does not overflow as factorials do.
  const offered = servers * utilization;
  let blocking = 1;
  for (let i = 1; i <= servers; i++) blocking = (offered * blocking) / (i + offered * blocking);
  return blocking / (1 - utilization * (1 - blocking));
}

/** Mean wait before service begins. @returns Infinity at or beyond capacity */
export function meanWait(queue: Queue, ratePerSecond: number): number {
  const utilization = ratePerSecond / capacity(queue);
  if (utilization >= 1) return Number.POSITIVE_INFINITY;
  const exponential =
    (waitProbability(queue.servers, utilization) * queue.serviceSeconds) / (queue.servers * (1 - utilization));
  return ((1 + queue.serviceScv) / 2) * exponential;
}

/** A quantile of the wait, where those who wait do so for exponentially distributed times; exact for M/M/c. */
export function waitQuantile(queue: Queue, ratePerSecond: number, q: number): number {
  const utilization = ratePerSecond / capacity(queue);
  if (utilization >= 1) return Number.POSITIVE_INFINITY;
  const probability = waitProbability(queue.servers, utilization);
  return probability <= 1 - q ? 0 : (meanWait(queue, ratePerSecond) / probability) * Math.log(probability / (1 - q));
}

/** The highest utilisation, in hundredths, at which that quantile of the wait stays within a bound. */
export function highestUtilization(queue: Queue, q: number, boundSeconds: number): number {
  for (let hundredths = 99; hundredths > 0; hundredths--)
    if (waitQuantile(queue, (hundredths / 100) * capacity(queue), q) <= boundSeconds) return hundredths / 100;
  return 0;
}
