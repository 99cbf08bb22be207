/**
 * Measures on this machine how the served models run best, and writes it to a file that the service reads at its start.
 *
 *     npm run calibrate -- [--out calibration.json] [--prefer throughput|latency] [--rounds 5] [--seconds 1]
 *
 * Reads MODELS_DIR, EXECUTION_PROVIDER and CUDA_DEVICE_ID as the service does; start the service with CALIBRATION_FILE set to
 * the file. Without --prefer, models up to 300 MB are calibrated for throughput and larger ones for latency. Nothing
 * else should run meanwhile. Takes about three minutes for two small models on two cores.
 */
import { parseArgs } from 'node:util';

import { discoverBundles } from '../bundle/discover.ts';
import { statedGraphs } from '../bundle/stated-graphs.ts';
import { ConfigError, loadConfig } from '../config.ts';
import { chooseMeasured, type Measured, measureSizings } from '../engine/calibration.ts';
import { writeCalibration } from '../engine/calibration-file.ts';
import { usableCpus } from '../engine/cpus.ts';
import { thisMachine } from '../engine/machine.ts';
import { graphsFor, isLarge } from '../engine/sizing.ts';

const OPTIONS = {
  out: { type: 'string', default: 'calibration.json' },
  prefer: { type: 'string' },
  rounds: { type: 'string', default: '5' },
  seconds: { type: 'string', default: '1' },
} as const;

const PREFERENCES = ['throughput', 'latency'] as const;

try {
  await calibrate();
} catch (error) {
  // What goes wrong here is the user's to put right: a message, not a stack.
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

async function calibrate(): Promise<void> {
  const { values } = parseArgs({ options: OPTIONS });
  const rounds = positive('--rounds', values.rounds);
  const seconds = positive('--seconds', values.seconds);
  const asked = PREFERENCES.find((known) => known === values.prefer);
  if (values.prefer !== undefined && asked === undefined)
    throw new Error(`--prefer must be ${PREFERENCES.join(' or ')}, got ${values.prefer}`);
  const { modelsDir, executionProvider: provider, cudaDevice } = readConfig();

  const { bundles, refused } = await discoverBundles(modelsDir);
  if (bundles.length === 0) {
    const why = refused.map(({ folder, reason }) => `\n  ${folder}: ${reason}`).join('');
    throw new Error(`MODELS_DIR (${modelsDir}) holds no sound bundle to measure.${why}`);
  }
  const graphs = graphsFor(await statedGraphs(modelsDir), provider);
  const prefer = asked ?? (isLarge(graphs) ? 'latency' : 'throughput');
  const tell = (line: string) => process.stderr.write(`${line}\n`);
  const means = { cpus: usableCpus(), provider, cudaDevice, rounds: Math.ceil(rounds), seconds };
  const measured = await measureSizings(bundles, means, tell);
  const choice = chooseMeasured(measured, prefer);
  const sound = new Set(bundles.map(({ manifest }) => `${manifest.name} ${manifest.version}`));
  await writeCalibration(values.out, {
    schemaVersion: 1,
    createdAt: new Date().toISOString(),
    machine: thisMachine(provider),
    models: graphs
      .filter(({ name, version }) => sound.has(`${name} ${version}`))
      .map(({ name, version, sha256 }) => ({ name, version, graph: sha256 })),
    prefer,
    choice,
    measured,
  });
  console.table(measured.map(forTable));
  console.log(
    `Best for ${prefer}: ${choice.workers} workers x ${choice.threads} threads, ${choice.batchTokens} tokens a batch.\n` +
      `Written to ${values.out}. Start the service with CALIBRATION_FILE=${values.out}.`,
  );
}

function readConfig() {
  try {
    return loadConfig(process.env);
  } catch (error) {
    if (error instanceof ConfigError) throw new Error(`These settings are wrong:\n${error.message}`);
    throw error;
  }
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`${name} must be a number above 0, got ${text}`);
  return value;
}

function forTable({ tokensPerSecond, windowMs, ...setting }: Measured) {
  return { ...setting, 'tokens/s': Math.round(tokensPerSecond), 'one window (ms)': Math.round(windowMs * 100) / 100 };
}
