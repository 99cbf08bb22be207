import assert from 'node:assert/strict';
import { test } from 'node:test';

import { usableCpus } from '../../src/engine/cpus.ts';

const files = (entries: Record<string, string>) => (path: string) => entries[path];

const V1 = '4:memory:/a\n1:cpu,cpuacct:/a/b\n0::/\n';

test('without a quota, what the scheduler gives', () => {
  assert.equal(usableCpus(6, files({})), 6);
  assert.equal(usableCpus(6, files({ '/proc/self/cgroup': '0::/x', '/sys/fs/cgroup/x/cpu.max': 'max 100000' })), 6);
});

test('cgroup v2, in the own group, an ancestor, or the root of a container', () => {
  const at = (path: string) => files({ '/proc/self/cgroup': '0::/a/b\n', [path]: '150000 100000\n' });
  for (const path of ['/a/b/', '/a/', '/']) assert.equal(usableCpus(8, at(`/sys/fs/cgroup${path}cpu.max`)), 2);
});

test('cgroup v1, under either name of the hierarchy', () => {
  for (const root of ['/sys/fs/cgroup/cpu/a/b', '/sys/fs/cgroup/cpu,cpuacct/a', '/sys/fs/cgroup/cpu']) {
    const quota = { [`${root}/cpu.cfs_quota_us`]: '300000\n', [`${root}/cpu.cfs_period_us`]: '100000\n' };
    assert.equal(usableCpus(8, files({ '/proc/self/cgroup': V1, ...quota })), 3);
  }
  const unlimited = {
    '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
    '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
  };
  assert.equal(usableCpus(8, files({ '/proc/self/cgroup': V1, ...unlimited })), 8);
});

test('never none', () => {
  assert.equal(usableCpus(4, files({ '/proc/self/cgroup': '0::/', '/sys/fs/cgroup/cpu.max': '10000 100000' })), 1);
});
