/**
 * The benchmark: one command for every figure of docs/performance.md.
 *
 *     npm run bench                        the table against the bare loop (about 32 minutes, 20 of them for memory)
 *     npm run bench -- --only latency      one row, or several with the option repeated
 *     npm run bench -- curves              throughput over connections, texts a request, length, workers
 *     npm run bench -- profile             where the main process's time goes
 *     npm run bench -- scale               replicas and cost from a queueing model, checked against the service
 *
 *     --models DIR --model NAME            what is measured (default: models, olid-minilm)
 *     --data DIR                           folder of the data sets (default: DSLORA_DATA_DIR); synthetic texts without
 *     --quick | --smoke                    a minute, or seconds: shows that it works, measures nothing
 *     --json                               JSON alone on the standard output
 *     --save                               keeps the JSON and plots in docs/performance, for `npm run docs`
 *
 * Settings of the service in the environment (QUEUE_WINDOWS=…) reach it. Its logs and texts are never printed.
 */
import { parseArgs } from 'node:util';

import { usableCpus } from '../src/engine/cpus.ts';
import { type BareSetting, startBare } from './bare.ts';
import type { Command } from './command.ts';
import { curves } from './curves.ts';
import { type Bench, EFFORTS } from './measurement.ts';
import { profile } from './profile.ts';
import { conditionsOf } from './report.ts';
import { scale } from './scale.ts';
import { table } from './table.ts';
import { loadWorkload } from './workload.ts';

const COMMANDS: Readonly<Record<string, Command>> = { table, curves, profile, scale };

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    models: { type: 'string', default: 'models' },
    model: { type: 'string' },
    data: { type: 'string' },
    only: { type: 'string', multiple: true },
    quick: { type: 'boolean' },
    smoke: { type: 'boolean' },
    json: { type: 'boolean' },
    save: { type: 'boolean' },
  },
});
// Children are ended by the handlers of 'exit', which a signal alone would pass by.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130));

const [name = 'table'] = positionals;
const command =
  COMMANDS[name] ?? fail(`No such part of the benchmark: ${name}. There are: ${Object.keys(COMMANDS).join(', ')}`);

const effort = options.smoke ? 'smoke' : options.quick ? 'quick' : 'full';
const cpus = usableCpus();
const workload = await loadWorkload({
  modelsDir: options.models,
  model: options.model,
  dataDir: options.data ?? process.env.DSLORA_DATA_DIR,
  texts: EFFORTS[effort].texts,
}).catch((error: Error) => fail(error.message));
const bare = startBare(workload, cpus);
let found: Promise<BareSetting> | undefined;
const bench: Bench = {
  workload,
  cpus,
  effort: EFFORTS[effort],
  bare,
  bestBare() {
    found ??= bare.best(EFFORTS[effort].trySeconds).then(({ best }) => best);
    return found;
  },
};
const outcome = await command({
  bench,
  conditions: conditionsOf(workload, cpus, effort),
  only: options.only,
  save: options.save ?? false,
  say: (line) => process.stderr.write(`${line}\n`),
}).catch((error: Error) => fail(error.message));
bare.stop();
console.log(options.json ? JSON.stringify(outcome.json) : outcome.text);

function fail(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}
