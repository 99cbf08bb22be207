/**
 * Every check and test there is, TypeScript and Python, fast ones first.
 *
 *     npm test                     all of them; at most 15 minutes on two cores
 *     npm run test:full            and those that take longer
 *     npm run check                only what needs neither Python nor a model
 *
 * A step that fails does not stop later ones. With CI=true a test that is skipped because something is missing fails.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import pLimit from 'p-limit';

import { checkCommand, ROOT } from './runner/command.ts';
import { runNodeTests } from './runner/node-tests.ts';
import { forbidSkips, type Outcome } from './runner/outcome.ts';
import { runPytest } from './runner/pytest.ts';
import { CLIENTS, CONTAINERS, KUBERNETES, RAY, TRAINING } from './runner/python-environment.ts';

type Group = 'checks' | 'node' | 'python' | 'e2e';

interface Step {
  readonly name: string;
  readonly group: Group;
  run(): Promise<Outcome>;
}

const MINUTE = 60_000;
const { values: options } = parseArgs({
  options: { full: { type: 'boolean' }, only: { type: 'string', multiple: true } },
});
// Tests that take long look at this themselves.
if (options.full) process.env.DSLORA_TEST_FULL = '1';
// Hundreds of processes of Node are started, and each would compile the same files again.
process.env.NODE_COMPILE_CACHE ||= join(ROOT, 'node_modules/.cache/node');
// So would Python where it is told to keep nothing, as in many images.
process.env.PYTHONDONTWRITEBYTECODE = '';

/** Building an image waits for disks more than for processors, so others have the second core meanwhile. */
const LONGEST = [
  'test/containers/image.test.ts',
  'test/e2e/bench.test.ts',
  'test/e2e/train-to-serve.test.ts',
  'test/e2e/fuzz/openapi.test.ts',
  'test/e2e/faults.test.ts',
];

const STEPS: readonly Step[] = [
  { name: 'types', group: 'checks', run: () => checkCommand('tsc', []) },
  { name: 'types of the playground', group: 'checks', run: () => checkCommand('tsc', ['-p', 'src/ui']) },
  { name: 'style and import rules', group: 'checks', run: () => checkCommand('biome', ['ci', '--error-on-warnings']) },
  { name: 'unused code', group: 'checks', run: () => checkCommand('knip', []) },
  { name: 'manifest schema is current', group: 'checks', run: () => current('src/bundle/write-schema.ts') },
  { name: 'policy schema is current', group: 'checks', run: () => current('scripts/write-policy-schema.ts') },
  { name: 'OpenAPI document is current', group: 'checks', run: () => current('scripts/write-openapi.ts') },
  {
    name: 'types of the TypeScript client are current',
    group: 'checks',
    run: () => current('scripts/write-client-types.ts'),
  },
  { name: 'tables in the documentation are current', group: 'checks', run: () => current('scripts/write-docs.ts') },
  {
    name: 'statistics of languages are current',
    group: 'checks',
    run: () => current('scripts/write-language-data.ts'),
  },
  { name: 'dashboard is current', group: 'checks', run: () => current('scripts/write-dashboard.ts') },
  {
    name: 'alerts for the Prometheus Operator are current',
    group: 'checks',
    run: () => current('scripts/write-prometheus-rule.ts'),
  },
  {
    name: 'licences of dependencies',
    group: 'checks',
    run: () => checkCommand('node', ['scripts/image/licenses.ts', '--check']),
  },
  { name: 'tests of the checks', group: 'node', run: () => runNodeTests(['test/runner'], MINUTE) },
  { name: 'unit tests', group: 'node', run: () => runNodeTests(['test/unit'], 3 * MINUTE) },
  { name: 'API tests', group: 'node', run: () => runNodeTests(['test/api'], 3 * MINUTE) },
  { name: 'Python environment', group: 'python', run: TRAINING.prepare },
  { name: 'Python style', group: 'python', run: () => ruff('check') },
  { name: 'Python format', group: 'python', run: () => ruff('format', '--check') },
  { name: 'Python types', group: 'python', run: () => checkCommand(TRAINING.python, ['-m', 'mypy'], 'training') },
  { name: 'Python tests', group: 'python', run: () => runPytest(TRAINING.python, []) },
  { name: 'Python clients', group: 'e2e', run: CLIENTS.prepare },
  { name: 'Kubernetes tools', group: 'e2e', run: KUBERNETES.prepare },
  { name: 'Container programs', group: 'e2e', run: CONTAINERS.prepare },
  ...(options.full ? [{ name: 'Ray', group: 'e2e', run: RAY.prepare } as const] : []),
  {
    name: 'Kubernetes manifests, containers and end-to-end tests',
    group: 'e2e',
    run: () => runNodeTests(['test/k8s', 'test/containers', 'test/e2e'], 12 * MINUTE, LONGEST),
  },
];

/** Also looks at the Python of end-to-end tests and examples, which has no configuration of its own. */
function ruff(...command: readonly string[]): Promise<Outcome> {
  const args = [
    '-m',
    'ruff',
    ...command,
    '--config',
    'pyproject.toml',
    '.',
    '../test/e2e',
    '../test/k8s',
    '../examples',
  ];
  return checkCommand(TRAINING.python, args, 'training');
}

function current(script: string): Promise<Outcome> {
  return checkCommand('node', [script, '--check']);
}

function summary({ passed, failed, skips }: Pick<Outcome, 'passed' | 'failed' | 'skips'>): string {
  const counts = `${passed} passed, ${failed} failed`;
  return skips.length > 0 ? `${counts}, ${skips.length} skipped` : counts;
}

/** @returns the outcome, and how long it took */
async function timed({ run }: Step): Promise<readonly [Outcome, seconds: number]> {
  const begun = performance.now();
  const found = await run();
  const outcome = process.env.CI === 'true' ? forbidSkips(found) : found;
  return [outcome, (performance.now() - begun) / 1000];
}

const chosen = STEPS.filter(({ group }) => options.only === undefined || options.only.includes(group));
// Checks are single programs, most of them on one core. Tests already run two files at a time.
const besideEachOther = pLimit(2);
const checks = new Map(
  chosen.filter(({ group }) => group === 'checks').map((step) => [step, besideEachOther(() => timed(step))]),
);
const totals = { passed: 0, failed: 0, skips: [] as string[] };
for (const step of chosen) {
  const { name } = step;
  console.log(`▶ ${name}`);
  const [outcome, seconds] = await (checks.get(step) ?? timed(step));
  if (outcome.failed > 0) console.log(outcome.report);
  for (const reason of new Set(outcome.skips)) console.log(`  skipped: ${reason}`);
  console.log(`${outcome.failed > 0 ? '✖' : '✔'} ${name}: ${summary(outcome)} (${seconds.toFixed(1)} s)`);
  totals.passed += outcome.passed;
  totals.failed += outcome.failed;
  totals.skips.push(...outcome.skips);
}
console.log(summary(totals));
process.exitCode = totals.failed > 0 ? 1 : 0;
