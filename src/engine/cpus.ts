/**
 * How many processors this process may really use: affinity and the cgroup's quota (v1 and v2, ancestors included).
 *
 * `os.availableParallelism()` of Node 24 knows the affinity, but was seen to miss a v1 quota.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

type ReadText = (path: string) => string | undefined;

const readText: ReadText = (path) => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
};

/**
 * Whole processors, at least 1. A quota of 1.5 counts as 2: a busy thread and a half-busy one lose less than an idle half.
 *
 * @param read returns a file's text, or undefined; for tests
 */
export function usableCpus(parallelism: number = availableParallelism(), read: ReadText = readText): number {
  const quota = cgroupQuota(read);
  return Math.max(1, Math.min(parallelism, Math.ceil(quota)));
}

function cgroupQuota(read: ReadText): number {
  // Lines are `id:controllers:path`; v2 has id 0 and no controllers.
  const lines = (read('/proc/self/cgroup') ?? '').split('\n').map((line) => line.split(':'));
  let quota = Number.POSITIVE_INFINITY;
  for (const [id, controllers = '', path = '/'] of lines) {
    if (id === '0' && controllers === '') {
      for (const folder of upwards(path))
        for (const root of ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'])
          quota = Math.min(quota, ratio(read(`${root}${folder}/cpu.max`)));
    } else if (controllers.split(',').includes('cpu')) {
      for (const folder of upwards(path))
        for (const root of ['/sys/fs/cgroup/cpu', `/sys/fs/cgroup/${controllers}`]) {
          const limit = read(`${root}${folder}/cpu.cfs_quota_us`)?.trim();
          const period = read(`${root}${folder}/cpu.cfs_period_us`)?.trim();
          if (limit !== undefined && period !== undefined) quota = Math.min(quota, ratio(`${limit} ${period}`));
        }
    }
  }
  return quota;
}

/** `/a/b` -> `/a/b`, `/a`, and the root. A container may see its own group at the root and the host's path here. */
function upwards(path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '' && part !== '..');
  return Array.from({ length: parts.length + 1 }, (_, i) =>
    parts
      .slice(0, parts.length - i)
      .map((part) => `/${part}`)
      .join(''),
  );
}

/** `"<microseconds> <period>"` -> processors; no limit is `max` (v2) or -1 (v1). */
function ratio(text: string | undefined): number {
  const [limit, period] = (text ?? '').trim().split(' ').map(Number);
  if (limit === undefined || period === undefined) return Number.POSITIVE_INFINITY;
  return limit > 0 && period > 0 ? limit / period : Number.POSITIVE_INFINITY;
}
