/**
 * One replica as a queue: first come, first served, one server a worker, and no request is taken on whose wait is foretold to
 * exceed QUEUE_WAIT_MS. Refusing costs the workers time too, since it takes place on the same cores.
 */
import type { Queue } from '../queueing.ts';
import { createRandom } from '../random.ts';

export interface ReplicaModel extends Queue {
  /** Of an answer beside wait and service: HTTP, tokenizer, messages. */
  readonly overheadSeconds: number;
  /** Time of a server that refusing one request costs. */
  readonly refusalSeconds: number;
  readonly cpuSecondsPerText: number;
  /** How many times longer than foretold a wait is. */
  readonly stretch: number;
}

/** As /metrics counts; only ever growing. */
export interface Counters {
  taken: number;
  refused: number;
  waits: number;
  waitSeconds: number;
  cpuSeconds: number;
}

export interface Replica {
  readonly counters: Readonly<Counters>;
  readonly random: () => number;
  /** @returns seconds until the answer; undefined when it is refused */
  offer(now: number): number | undefined;
}

/** Service times are drawn from a table of this many. */
const DRAWS = 8192;

export function createReplica(
  model: ReplicaModel,
  { queueWaitSeconds, seed }: { readonly queueWaitSeconds: number; readonly seed: number },
): Replica {
  const random = createRandom(seed);
  const times = serviceTimes(model);
  const free = new Float64Array(model.servers);
  const counters: Counters = { taken: 0, refused: 0, waits: 0, waitSeconds: 0, cpuSeconds: 0 };

  return {
    counters,
    random,
    offer(now) {
      let first = 0;
      let ahead = 0;
      for (let i = 0; i < free.length; i++) {
        if ((free[i] as number) < (free[first] as number)) first = i;
        ahead += Math.max(0, (free[i] as number) - now);
      }
      const begin = Math.max(now, free[first] as number);
      if (ahead / free.length / model.stretch > queueWaitSeconds) {
        free[first] = begin + model.refusalSeconds;
        counters.refused++;
        counters.cpuSeconds += model.refusalSeconds;
        return undefined;
      }
      const service = times[Math.floor(random() * DRAWS)] as number;
      free[first] = begin + service;
      counters.taken++;
      counters.waits++;
      counters.waitSeconds += begin - now;
      counters.cpuSeconds += model.cpuSecondsPerText;
      return begin - now + service + model.overheadSeconds;
    },
  };
}

const tables = new Map<string, Float64Array>();

/** Log-normal, with the given mean and variation, at equally probable quantiles. */
function serviceTimes({ serviceSeconds, serviceScv }: Queue): Float64Array {
  const key = `${serviceSeconds} ${serviceScv}`;
  const known = tables.get(key);
  if (known !== undefined) return known;
  const sigma = Math.sqrt(Math.log(1 + serviceScv));
  const random = createRandom(17);
  const made = Float64Array.from({ length: DRAWS }, () => {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return Math.exp(sigma * normal);
  });
  // A sample's own mean is off by some percent; the capacity must not be.
  const scale = (serviceSeconds * DRAWS) / made.reduce((sum, time) => sum + time, 0);
  const table = made.map((time) => time * scale);
  tables.set(key, table);
  return table;
}
