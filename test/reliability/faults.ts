/**
 * Breaks the running service in every way that we know and counts what its clients lose.
 *
 *     node test/reliability/faults.ts [--models DIR] [--model NAME] [--seconds N] [--only NAME]...
 *
 * Every scenario has a service of its own on loopback, clients that check each answer, a fault, and a check that the
 * service is whole afterwards: ready, answering rightly, nothing left in its queue, as many processes as before.
 * Prints a table and the same as JSON; ends with 1 when a scenario lost or mixed up anything.
 */
import { parseArgs } from 'node:util';

import { syntheticTexts } from '../../bench/texts.ts';
import { startService } from '../e2e/service.ts';
import { type Client, createClient, referenceOf, startLoad, type Tally } from './load.ts';
import { OUTSIDE } from './outside.ts';
import { childrenOf } from './process-tree.ts';
import { INSIDE } from './scenarios.ts';
import type { Scenario, Scene } from './scene.ts';

const { values: options } = parseArgs({
  options: {
    models: { type: 'string', default: 'models' },
    model: { type: 'string', default: 'olid-minilm' },
    seconds: { type: 'string', default: '10' },
    only: { type: 'string', multiple: true },
  },
});

const SCENARIOS: Readonly<Record<string, Scenario>> = { ...INSIDE, ...OUTSIDE };
const TEXTS = 200;
const RECOVERY_MS = 60_000;

interface Outcome {
  readonly scenario: string;
  readonly fault: string;
  readonly requests: number;
  readonly answered: string;
  readonly lost: number;
  readonly wrong: number;
  readonly slowestMs: number;
  readonly after: string;
}

const NOT_PLAYED = { fault: '', requests: 0, answered: '', lost: 0, wrong: 0, slowestMs: 0 };

const outcomes: Outcome[] = [];
for (const [name, scenario] of Object.entries(SCENARIOS)) {
  if (options.only !== undefined && !options.only.includes(name)) continue;
  const cleanups: (() => unknown)[] = [];
  try {
    outcomes.push(await play(name, scenario, { after: (cleanup) => void cleanups.push(cleanup as () => unknown) }));
  } catch (error) {
    // What the others found counts all the same.
    outcomes.push({ ...NOT_PLAYED, scenario: name, after: `broken off: ${(error as Error).message}` });
  } finally {
    for (const cleanup of cleanups.reverse()) await cleanup();
  }
}
console.table(outcomes);
console.log(JSON.stringify(outcomes, null, 2));
const failed = outcomes.filter(({ lost, wrong, after }) => lost > 0 || wrong > 0 || after !== 'whole');
process.exitCode = failed.length > 0 ? 1 : 0;

async function play(
  name: string,
  { env = () => ({}), command, connections = 16, textsOfARequest = 4, run, ends = false, expect = [200] }: Scenario,
  context: { after(cleanup: unknown): void },
): Promise<Outcome> {
  const models = options.models;
  const service = await startService(
    context as never,
    { MODELS_DIR: models, DEFAULT_MODEL: options.model, WORKERS: '2', LOG_LEVEL: 'warn', ...env() },
    command,
  );
  const client = createClient(service.url);
  context.after(() => client.close());
  await ready(client);
  const reference = await referenceOf(client, options.model, syntheticTexts(TEXTS));
  const load = startLoad(client, { model: options.model, reference, connections, textsOfARequest });
  const scene: Scene = {
    service,
    client,
    load,
    seconds: Number(options.seconds),
    children: (role) => childrenOf(service.process.pid as number).filter((child) => child.role === role),
    context,
  };
  const fault = await run(scene);
  const tally = await load.stop();
  const unexpected = Object.keys(tally.answered).filter((status) => !expect.includes(Number(status)));
  const after = ends ? 'whole' : await stateAfterwards(scene, reference);
  return {
    scenario: name,
    fault,
    requests: tally.sent,
    answered: statuses(tally),
    lost: tally.lost,
    wrong: tally.wrong,
    slowestMs: Math.round(tally.slowestMs),
    after: unexpected.length > 0 ? `status ${unexpected.join(', ')} came` : after,
  };
}

async function ready(client: Client): Promise<void> {
  const end = performance.now() + RECOVERY_MS;
  for (;;) {
    const answer = await client.get('/health/ready').catch(() => undefined);
    if (answer?.status === 200) return;
    if (performance.now() > end) throw new Error('The service was not ready in time');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function statuses({ answered, codes }: Tally): string {
  const parts = Object.entries(answered).map(([status, count]) => `${status}: ${count}`);
  const problems = Object.entries(codes).map(([code, count]) => `${code} ${count}`);
  return [...parts, ...problems].join(', ');
}

/** @returns `whole`, or what is not */
async function stateAfterwards({ client, children }: Scene, reference: ReadonlyMap<string, number>): Promise<string> {
  const end = performance.now() + RECOVERY_MS;
  let problem = 'not looked at';
  while (performance.now() < end) {
    problem = await problemNow();
    if (problem === 'whole') return problem;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return problem;

  async function problemNow(): Promise<string> {
    try {
      if ((await client.get('/health/ready')).status !== 200) return 'not ready';
      const again = await referenceOf(client, options.model, [...reference.keys()].slice(0, 20));
      for (const [text, offensive] of again) if (reference.get(text) !== offensive) return 'answers changed';
      const { body } = await client.get('/metrics');
      const waiting = [...body.matchAll(/^dslora_queue_windows(?:\{[^}]*\})? (\S+)$/gm)].map(([, value]) =>
        Number(value),
      );
      if (waiting.length === 0 || waiting.some((value) => value !== 0)) return 'something still waits in the queue';
      if (children('inference').length !== 2) return `${children('inference').length} inference processes`;
      return 'whole';
    } catch {
      return 'no answer';
    }
  }
}
