/** The benchmark runs, on the smallest model there is: every figure is there, whatever its value on this machine. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { CurvesReport } from '../../bench/curves.ts';
import { MEASUREMENTS } from '../../bench/measurements.ts';
import type { ProfileReport } from '../../bench/profile.ts';
import type { TableReport } from '../../bench/report.ts';
import type { ScaleReport } from '../../bench/scale.ts';
import { FIXTURES, startService } from './service.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function node(...args: readonly string[]): Promise<Ended> {
  // Texts of our own making, whatever the machine has.
  const env = { ...process.env, DSLORA_DATA_DIR: undefined, MODELS_DIR: FIXTURES };
  const child = spawn(process.execPath, args, { cwd: ROOT, env });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, stdout, stderr })));
}

async function bench<Report>(...args: readonly string[]): Promise<Report> {
  const { code, stdout, stderr } = await node('bench/run.ts', ...args, '--smoke', '--json', '--models', FIXTURES);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout) as Report;
}

describe('the benchmark', () => {
  it('has every row of the table, with its target, figures and share of the processors', async () => {
    const { conditions, rows } = await bench<TableReport>('table');
    assert.deepEqual(
      rows.map(({ name }) => name),
      MEASUREMENTS.map(({ name }) => name),
    );
    assert.equal(conditions.effort, 'smoke');
    assert.equal(conditions.model, 'tiny 1.0.0');
    for (const row of rows) {
      assert.ok(row.measured.length > 0 && Object.keys(row.figures).length > 0, row.name);
      assert.equal(typeof row.pass, row.target === undefined ? 'undefined' : 'boolean', row.name);
      if (row.cpu !== undefined) assert.ok(row.cpu.generator >= 0 && row.cpu.service >= 0, row.name);
    }
    const ratio = rows[0]?.figures.ratio as { median: number; min: number; max: number };
    assert.ok(ratio.min <= ratio.median && ratio.median <= ratio.max);
  });

  it('runs one row alone, and says which there are', async () => {
    const { rows } = await bench<TableReport>('--only', 'process-boundary');
    assert.deepEqual(
      rows.map(({ name }) => name),
      ['process-boundary'],
    );
    const { code, stderr } = await node('bench/run.ts', '--smoke', '--models', FIXTURES, '--only', 'nothing');
    assert.equal(code, 1);
    assert.match(stderr, /No such rows: nothing\. There are: throughput-32, /);
  });

  it('has every curve with its knee, a profile and a plan', async () => {
    const { curves } = await bench<CurvesReport>('curves', '--only', 'texts-a-request');
    assert.equal(curves.length, 1);
    for (const { points, knee } of curves) assert.ok(points.some(({ x }) => x === knee));
    const { loads } = await bench<ProfileReport>('profile');
    for (const { groups } of loads) {
      const sum = groups.reduce((all, { share }) => all + share, 0);
      assert.ok(groups.length > 3 && Math.abs(sum - 1) < 1e-9, JSON.stringify(groups));
    }
    const { check, plan } = await bench<ScaleReport>('scale');
    assert.equal(check.length, 4);
    assert.deepEqual(new Set(plan.map(({ textsPerSecond }) => textsPerSecond)), new Set([100, 10_000, 1_000_000]));
  });
});

describe('calibrate', () => {
  it('writes a file that the service takes its sizes from', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'calibrate-'));
    t.after(() => rm(folder, { recursive: true }));
    const file = join(folder, 'calibration.json');
    const ended = await node('src/cli/calibrate.ts', '--out', file, '--rounds', '1', '--seconds', '0.02');
    assert.equal(ended.code, 0, ended.stderr);
    const best = /(\d+) workers x (\d+) threads, (\d+) tokens a batch/.exec(ended.stdout);
    assert.ok(best !== null, ended.stdout);
    const [, workers, threads, batchTokens] = best.map(Number);
    const started = async (env: Record<string, string>) => {
      const service = await startService(t, { CALIBRATION_FILE: file, WORKERS: '', ...env });
      const line = service
        .output()
        .split('\n')
        .find((own) => own.includes('"inference processes"'));
      await service.stop();
      const sizes = JSON.parse(line ?? '{}');
      return { workers: sizes.workers, threads: sizes.threads, batchTokens: sizes.batchTokens, from: sizes.from };
    };
    assert.deepEqual(await started({}), { workers, threads, batchTokens, from: 'calibration' });
    assert.deepEqual(await started({ BATCH_TOKENS: '64' }), { workers, threads, batchTokens: 64, from: 'calibration' });
  });

  it('says what is wrong', async () => {
    const ended = await node('src/cli/calibrate.ts', '--prefer', 'cheap');
    assert.equal(ended.code, 1);
    assert.match(ended.stderr, /--prefer must be throughput or latency, got cheap/);
  });
});
