/** From what one replica does to how many are needed, and what a million texts cost. */
import { capacity, highestUtilization, type Queue } from './queueing.ts';

/** Nothing here was measured. Change it to your own prices and devices and run the command again. */
export const ASSUMPTIONS = {
  /** Of one processor core in a cloud, with its memory. */
  dollarsPerCoreHour: 0.05,
  /** Of a machine with one inference GPU of the L4's class and the cores below. */
  dollarsPerGpuHour: 1.0,
  coresPerGpu: 8,
  /** Dense 16-bit arithmetic of such a GPU at its peak, and the share of it that small encoders reach. */
  gpuTeraflops: 121,
  gpuShareReached: 0.2,
  /** 99 % of texts begin to be computed within so many milliseconds. */
  waitP99Ms: 50,
  /** Replicas beyond what the load needs: one, and this share for a lost zone or an update. */
  spareShare: 0.1,
} as const;

export const TEXTS_PER_SECOND = [100, 10_000, 1_000_000] as const;

/** What was measured of one replica. */
export interface Replica {
  readonly cores: number;
  readonly queue: Queue;
  /** Processor milliseconds a text in the one main process and in the one tokenizer process, requests of 32 texts. */
  readonly mainMsPerText: number;
  readonly tokenizerMsPerText: number;
  readonly parameters: number;
  readonly tokensPerText: number;
}

export interface PlanRow {
  readonly device: 'CPU' | 'GPU (assumed)';
  readonly textsPerSecond: number;
  /** Texts a second that one replica is planned for. */
  readonly planned: number;
  readonly utilization: number;
  readonly replicas: number;
  readonly cores: number;
  readonly dollarsPerMillionTexts: number;
  /** What ends first in a replica. */
  readonly limit: string;
}

export function planScale(replica: Replica, assumed: typeof ASSUMPTIONS = ASSUMPTIONS): PlanRow[] {
  return [cpuReplica(replica, assumed), gpuReplica(replica, assumed)].flatMap((kind) =>
    TEXTS_PER_SECOND.map((textsPerSecond) => {
      const needed = Math.ceil(textsPerSecond / kind.planned);
      const replicas = needed + Math.max(1, Math.ceil(needed * assumed.spareShare));
      return {
        device: kind.device,
        textsPerSecond,
        planned: kind.planned,
        utilization: kind.utilization,
        replicas,
        cores: replicas * kind.cores,
        dollarsPerMillionTexts: (replicas * kind.dollarsPerHour * 1e6) / (3600 * textsPerSecond),
        limit: kind.limit,
      };
    }),
  );
}

interface Kind extends Pick<PlanRow, 'device' | 'planned' | 'utilization' | 'cores' | 'limit'> {
  readonly dollarsPerHour: number;
}

function cpuReplica({ queue, cores }: Replica, assumed: typeof ASSUMPTIONS): Kind {
  const utilization = highestUtilization(queue, 0.99, assumed.waitP99Ms / 1000);
  return {
    device: 'CPU',
    planned: utilization * capacity(queue),
    utilization,
    cores,
    dollarsPerHour: cores * assumed.dollarsPerCoreHour,
    limit: 'inference',
  };
}

/** A GPU computes more than one Node process can receive, so the smallest of the three rates counts. */
function gpuReplica(replica: Replica, assumed: typeof ASSUMPTIONS): Kind {
  // Two operations a parameter and token. Embeddings are looked up, not multiplied, so this is on the safe side.
  const perText = 2 * replica.parameters * replica.tokensPerText;
  const rates = {
    inference: (assumed.gpuTeraflops * 1e12 * assumed.gpuShareReached) / perText,
    'the main process': 1000 / replica.mainMsPerText,
    'the tokenizer process': 1000 / replica.tokenizerMsPerText,
  };
  const [limit, rate] = Object.entries(rates).reduce((least, other) => (other[1] < least[1] ? other : least));
  const queue = { servers: 1, serviceSeconds: 1 / rate, serviceScv: 1 };
  const utilization = Math.min(0.8, highestUtilization(queue, 0.99, assumed.waitP99Ms / 1000));
  return {
    device: 'GPU (assumed)',
    planned: utilization * rate,
    utilization,
    cores: assumed.coresPerGpu,
    dollarsPerHour: assumed.dollarsPerGpuHour,
    limit,
  };
}
