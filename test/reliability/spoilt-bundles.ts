/**
 * Every byte of every file of a bundle changed, and every length it can be cut to: how many are refused.
 *
 *     node test/reliability/spoilt-bundles.ts [--bundle test/fixtures/tiny] [--samples 100000]
 *
 * Of a file with more bytes than `samples`, its edges and evenly spaced places. A bundle without `manifest.sha256` gets
 * one. Prints JSON; ends with 1 when a change was not refused.
 */
import { cp, mkdtemp, open, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { loadBundle } from '../../src/bundle/load.ts';
import { BundleError } from '../../src/bundle/problem.ts';
import { writeManifestSum } from '../fixtures/bundle-copy.ts';

const { values: options } = parseArgs({
  options: {
    bundle: { type: 'string', default: 'test/fixtures/tiny' },
    samples: { type: 'string', default: '100000' },
  },
});
const samples = Number(options.samples);
/** Bytes at both ends that are always among the places. */
const EDGE = 256;

function places(size: number): number[] {
  if (size <= samples) return Array.from({ length: size }, (_, i) => i);
  const spaced = Array.from({ length: samples }, (_, i) => Math.floor((i * size) / samples));
  const edges = Array.from({ length: EDGE }, (_, i) => [i, size - 1 - i]).flat();
  return [...new Set([...spaced, ...edges])].filter((place) => place >= 0 && place < size).sort((a, b) => a - b);
}

async function refused(folder: string): Promise<boolean> {
  try {
    const { files } = await loadBundle(folder);
    await files.close();
    return false;
  } catch (error) {
    if (error instanceof BundleError) return true;
    throw error;
  }
}

const work = await mkdtemp(join(tmpdir(), 'spoilt-bundles-'));
const folder = join(work, 'bundle');
const report: Record<string, { tried: number; refused: number }> = {};
let missed = 0;
try {
  await cp(options.bundle, folder, { recursive: true });
  await writeManifestSum(folder);
  if (await refused(folder)) throw new Error(`${options.bundle} is refused as it is: give a sound bundle`);
  for (const file of (await readdir(options.bundle)).sort()) {
    const handle = await open(join(folder, file), 'r+');
    const { size } = await handle.stat();
    const content = Buffer.alloc(size);
    await handle.read(content, 0, size, 0);
    const counts = { changed: { tried: 0, refused: 0 }, cut: { tried: 0, refused: 0 } };
    for (const place of places(size)) {
      await handle.write(Buffer.from([(content[place] as number) ^ (1 << (place % 8))]), 0, 1, place);
      counts.changed.tried += 1;
      counts.changed.refused += Number(await refused(folder));
      await handle.write(content, place, 1, place);
    }
    for (const length of places(size).reverse()) {
      await handle.truncate(length);
      counts.cut.tried += 1;
      counts.cut.refused += Number(await refused(folder));
    }
    await handle.write(content, 0, size, 0);
    await handle.close();
    for (const [how, count] of Object.entries(counts)) {
      report[`${file} ${how}`] = count;
      missed += count.tried - count.refused;
    }
  }
  if (await refused(folder)) throw new Error('the bundle was not put back as it was');
} finally {
  await rm(work, { recursive: true, force: true });
}
console.log(JSON.stringify({ bundle: options.bundle, missed, report }, null, 2));
process.exitCode = missed > 0 ? 1 : 0;
