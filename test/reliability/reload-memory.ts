/**
 * Whether memory comes back after a model was replaced: reloads a bundle that changed, again and again, under the real
 * service, and compares the memory of all its processes after the last reload with that after the first.
 *
 *     node test/reliability/reload-memory.ts [--bundle models/olid-minilm] [--reloads 50] [--seconds 300] [--workers 2]
 *
 * Prints JSON; ends with 1 when memory grew by more than a tenth, or a request failed. Needs Linux.
 */
import { cp, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { totalPss } from '../../bench/processes.ts';
import { startService } from '../../bench/service.ts';
import { tenth } from '../../bench/statistics.ts';
import { syntheticTexts } from '../../bench/texts.ts';

const { values: options } = parseArgs({
  options: {
    bundle: { type: 'string', default: 'models/olid-minilm' },
    reloads: { type: 'string', default: '50' },
    seconds: { type: 'string', default: '300' },
    workers: { type: 'string', default: '2' },
  },
});

/** Largest growth, as a share. */
const LIMIT = 0.1;
/** Before memory is looked at: what was freed goes back, and each process has run every length. */
const SETTLE_MS = 500;
const REQUESTS = 20;
const TEXTS_A_REQUEST = 32;

const folder = await mkdtemp(join(tmpdir(), 'reload-memory-'));
const texts = syntheticTexts(REQUESTS * TEXTS_A_REQUEST, 0);
try {
  await cp(options.bundle, join(folder, 'model'), { recursive: true });
  const env = { ADMIN_KEY: 'measured', MODELS_POLL_MS: '0', WORKERS: options.workers, THREADS: '1' };
  const service = await startService({ modelsDir: folder, env });
  const end = performance.now() + Number(options.seconds) * 1000;
  const seconds: number[] = [];
  const pssMiB: number[] = [];
  let byRole: Record<string, number> = {};
  let failed = 0;

  /** Some traffic, then what all processes use. */
  async function measure(): Promise<number> {
    for (let i = 0; i < REQUESTS; i++) await classify(texts.slice(i * TEXTS_A_REQUEST, (i + 1) * TEXTS_A_REQUEST));
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const uses = service.use();
    byRole = {};
    for (const { role, pssMiB: own } of uses) byRole[role] = Math.round((byRole[role] ?? 0) + own);
    return tenth(totalPss(uses));
  }

  async function classify(some: readonly string[]): Promise<void> {
    const answer = await fetch(`${service.url}/classify`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ texts: some, gates: 'none' }),
    });
    await answer.arrayBuffer();
    if (answer.status !== 200) failed++;
  }

  /** A bundle of the same name and version and another content takes the place of the present one. */
  async function reload(number: number): Promise<number> {
    const [present, next, old] = ['model', '.next', '.old'].map((name) => join(folder, name)) as [
      string,
      string,
      string,
    ];
    await cp(present, next, { recursive: true });
    const manifest = JSON.parse(await readFile(join(next, 'manifest.json'), 'utf8')) as { description: string };
    await writeFile(join(next, 'manifest.json'), JSON.stringify({ ...manifest, description: `content ${number}` }));
    await rm(join(next, 'manifest.sha256'), { force: true });
    await rename(present, old);
    await rename(next, present);
    await rm(old, { recursive: true });
    const headers = { 'x-api-key': 'measured' };
    const answer = await fetch(`${service.url}/admin/reload`, { method: 'POST', headers });
    const report = (await answer.json()) as { bundles: { outcome: string }[]; seconds: number };
    if (report.bundles[0]?.outcome !== 'loaded') throw new Error(`Reload ${number}: ${JSON.stringify(report)}`);
    return report.seconds;
  }

  const start = await measure();
  while (pssMiB.length < Number(options.reloads) && performance.now() < end) {
    seconds.push(await reload(pssMiB.length + 1));
    pssMiB.push(await measure());
  }
  await service.stop();

  const [first = 0, last = 0] = [pssMiB[0], pssMiB.at(-1)];
  const growth = last / first - 1;
  const passed = growth <= LIMIT && failed === 0 && pssMiB.length > 1;
  const median = [...seconds].sort((a, b) => a - b)[Math.floor(seconds.length / 2)];
  const result = {
    reloads: pssMiB.length,
    failedRequests: failed,
    reloadSecondsMedian: median,
    pssMiB: { start, first, last, highest: Math.max(...pssMiB), byRole, all: pssMiB },
    growth: Math.round(growth * 1000) / 1000,
    passed,
  };
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  process.exitCode = passed ? 0 : 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
