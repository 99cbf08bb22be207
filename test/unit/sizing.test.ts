import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';

import { statedGraphs } from '../../src/bundle/stated-graphs.ts';
import { chooseMeasured, cutByBudget, divisions, type Measured, usualLengths } from '../../src/engine/calibration.ts';
import { CalibrationError } from '../../src/engine/calibration-error.ts';
import { type Calibration, readCalibration, unfitness, writeCalibration } from '../../src/engine/calibration-file.ts';
import { type Machine, thisMachine } from '../../src/engine/machine.ts';
import { chooseSizing, completeSizing, sizingRule } from '../../src/engine/sizing.ts';

const FIXTURES = new URL('../fixtures', import.meta.url).pathname;
const MB = 1024 * 1024;

const MACHINE: Machine = { cpu: 'a', arch: 'x64', usableCpus: 8, onnxruntime: '1.30.0', executionProvider: 'auto' };

function calibration(changes: Partial<Calibration> = {}): Calibration {
  return {
    schemaVersion: 1,
    createdAt: '2026-01-01T00:00:00.000Z',
    machine: MACHINE,
    models: [{ name: 'm', version: '1.0.0', graph: 'aa' }],
    prefer: 'throughput',
    choice: { workers: 4, threads: 2, batchTokens: 512 },
    measured: [],
    ...changes,
  };
}

async function folder(t: TestContext): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'sizing-'));
  t.after(() => rm(made, { recursive: true }));
  return made;
}

describe('the rule', () => {
  it('gives small models a process a core, and large ones all cores at once', () => {
    assert.deepEqual(sizingRule([{ bytes: 23 * MB }], 8), { workers: 8, threads: 1, batchTokens: 192 });
    assert.deepEqual(sizingRule([{ bytes: 23 * MB }, { bytes: 301 * MB }], 8), {
      workers: 1,
      threads: 8,
      batchTokens: 192,
    });
    assert.deepEqual(sizingRule([], 2), { workers: 2, threads: 1, batchTokens: 192 });
  });

  it('shares out the processors where only workers or only threads are set', () => {
    const otherwise = { workers: 8, threads: 1, batchTokens: 192 };
    assert.deepEqual(completeSizing({ workers: 2 }, otherwise, 8), { workers: 2, threads: 4, batchTokens: 192 });
    assert.deepEqual(completeSizing({ threads: 8 }, otherwise, 8), { workers: 1, threads: 8, batchTokens: 192 });
    assert.deepEqual(completeSizing({ workers: 3, threads: 3 }, otherwise, 8), {
      workers: 3,
      threads: 3,
      batchTokens: 192,
    });
    assert.deepEqual(completeSizing({ workers: 16 }, otherwise, 8), { workers: 16, threads: 1, batchTokens: 192 });
    assert.deepEqual(completeSizing({ batchTokens: 64 }, otherwise, 8), { ...otherwise, batchTokens: 64 });
  });
});

describe('a calibration file', () => {
  it('is read as it was written, and nothing is left beside it', async (t) => {
    const dir = await folder(t);
    const file = join(dir, 'calibration.json');
    await writeCalibration(file, calibration());
    assert.deepEqual(await readCalibration(file), calibration());
    assert.deepEqual(await readdir(dir), ['calibration.json']);
  });

  it('that is none is refused, with what is wrong', async (t) => {
    const file = join(await folder(t), 'calibration.json');
    await assert.rejects(readCalibration(file), (error: Error) => {
      assert.ok(error instanceof CalibrationError);
      assert.match(error.message, /cannot be read \(ENOENT\)/);
      return true;
    });
    await writeFile(file, JSON.stringify({ ...calibration(), choice: { workers: 0, threads: 1, batchTokens: 64 } }));
    await assert.rejects(readCalibration(file), /\/choice\/workers/);
    await writeFile(file, 'workers=2');
    await assert.rejects(readCalibration(file), /is not JSON/);
  });

  it('says nothing about another machine or other models, and the reason names the difference', () => {
    const graphs = [{ name: 'm', version: '1.0.0', sha256: 'aa' }];
    assert.equal(unfitness(calibration(), MACHINE, graphs), undefined);
    assert.match(
      unfitness(calibration(), { ...MACHINE, usableCpus: 2 }, graphs) ?? '',
      /usableCpus 8, and here it is 2/,
    );
    assert.match(unfitness(calibration(), { ...MACHINE, cpu: 'b' }, graphs) ?? '', /cpu a, and here it is b/);
    const changed = [{ name: 'm', version: '1.0.0', sha256: 'bb' }];
    assert.match(unfitness(calibration(), MACHINE, changed) ?? '', /m 1\.0\.0 was not measured/);
    // A model that was measured and is not there any more does no harm; a second graph of a measured one neither.
    assert.equal(unfitness(calibration(), MACHINE, []), undefined);
    assert.equal(unfitness(calibration(), MACHINE, [...graphs, ...changed]), undefined);
  });

  it('counts less than settings and more than the rule', async (t) => {
    const calibrationFile = join(await folder(t), 'calibration.json');
    const models = (await statedGraphs(FIXTURES)).map(({ name, version, sha256 }) => ({
      name,
      version,
      graph: sha256,
    }));
    assert.ok(models.length > 0);
    await writeCalibration(calibrationFile, calibration({ machine: thisMachine('auto'), models }));
    const choose = (set = {}, file: string | undefined = calibrationFile) =>
      chooseSizing({ modelsDir: FIXTURES, provider: 'auto', calibrationFile: file, set });

    assert.deepEqual(await choose(), {
      workers: 4,
      threads: 2,
      batchTokens: 512,
      from: 'calibration',
      warning: undefined,
    });
    assert.equal((await choose({ batchTokens: 64 })).batchTokens, 64);
    assert.equal((await choose({ batchTokens: 64 })).workers, 4);
    assert.equal((await choose({ workers: 1 })).workers, 1);

    await writeCalibration(calibrationFile, calibration({ models }));
    const { from, warning } = await choose();
    assert.equal(from, 'rule');
    assert.match(warning ?? '', /calibration\.json is not used: it was measured with /);
  });
});

describe('calibration', () => {
  const entry = (
    workers: number,
    threads: number,
    batchTokens: number,
    tokensPerSecond: number,
    windowMs = 4,
    model = 'm',
  ) => ({ model, workers, threads, batchTokens, tokensPerSecond, windowMs }) satisfies Measured;

  it('takes what is fastest, and of what is about as fast the smallest batches', () => {
    const measured = [entry(2, 1, 64, 900), entry(2, 1, 128, 985), entry(2, 1, 256, 1000), entry(1, 2, 64, 700, 2)];
    assert.deepEqual(chooseMeasured(measured, 'throughput'), { workers: 2, threads: 1, batchTokens: 128 });
  });

  it('takes what answers one window soonest where latency is preferred, with its best batches', () => {
    const measured = [entry(2, 1, 64, 1000, 4), entry(1, 2, 64, 700, 2), entry(1, 2, 256, 750, 2)];
    assert.deepEqual(chooseMeasured(measured, 'latency'), { workers: 1, threads: 2, batchTokens: 256 });
  });

  it('weighs models alike, whatever their speed', () => {
    const measured = [
      entry(2, 1, 64, 1000, 4, 'slow'),
      entry(2, 1, 256, 500, 4, 'slow'),
      entry(2, 1, 64, 90_000, 1, 'fast'),
      entry(2, 1, 256, 100_000, 1, 'fast'),
    ];
    assert.equal(chooseMeasured(measured, 'throughput').batchTokens, 64);
  });

  it('tries every even division of the processors that memory allows', () => {
    const name = ({ workers, threads }: { workers: number; threads: number }) => `${workers}x${threads}`;
    assert.deepEqual(divisions(6, MB, 1024 * MB).map(name), ['6x1', '3x2', '2x3', '1x6']);
    assert.deepEqual(divisions(4, 200 * MB, 1024 * MB).map(name), ['1x4']);
  });

  it('measures with the lengths of the development split', async () => {
    const manifest = JSON.parse(await readFile(join(FIXTURES, 'tiny/manifest.json'), 'utf8'));
    const tokens = { edges: [0, 8, 16, 64], counts: [1, 3, 0] };
    const input = { ...manifest.input, maxTokens: 12 };
    const lengths = usualLengths({ distribution: { ...manifest.distribution, tokens }, input });
    assert.ok(lengths.every((length, i) => i === 0 || length >= (lengths[i - 1] as number)));
    assert.equal(Math.max(...lengths), 12);
    const quarter = lengths.filter((length) => length <= 8).length / lengths.length;
    assert.ok(Math.abs(quarter - 0.25) < 0.1, `${quarter}`);
  });

  it('cuts batches that stay within the budget and lose nothing', () => {
    const windows = [3, 5, 5, 8, 20].map((length) => new Int32Array(length));
    const batches = cutByBudget(windows, 16);
    assert.deepEqual(
      batches.map((batch) => batch.map(({ length }) => length)),
      [[3, 5, 5], [8], [20]],
    );
  });
});
