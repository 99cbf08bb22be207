/** Runs the Python tests and takes the counts from pytest's JUnit report. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { runCommand } from './command.ts';
import type { Outcome } from './outcome.ts';

/** @param python path of the interpreter that has pytest */
export async function runPytest(python: string, args: readonly string[]): Promise<Outcome> {
  const folder = await mkdtemp(join(tmpdir(), 'dslora-pytest-'));
  try {
    const file = join(folder, 'junit.xml');
    // Two processes, each with one thread and whole files, whose fixtures are made once; in their own order, since
    // files of few tests, which would come last, are the longest.
    const parallel = ['-n', '2', '--dist', 'loadfile', '--no-loadscope-reorder'];
    const command = ['-m', 'pytest', '-q', '--durations=10', `--junitxml=${file}`, ...parallel, ...args];
    const { code, output } = await runCommand(python, command, 'training', { OMP_NUM_THREADS: '1' });
    const outcome = readJunit(await readFile(file, 'utf8').catch(() => ''), output);
    // A run that broke off before a test could fail.
    return code === 0 || outcome.failed > 0 ? outcome : { ...outcome, failed: 1 };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Exported for its test. */
export function readJunit(xml: string, report: string): Outcome {
  const suite = /<testsuite\s[^>]*>/.exec(xml)?.[0] ?? '';
  const count = (name: string) => Number(new RegExp(`\\s${name}="(\\d+)"`).exec(suite)?.[1] ?? 0);
  const failed = count('failures') + count('errors');
  const skips = [...xml.matchAll(/<skipped\s[^>]*?message="([^"]*)"/g)].map(([, message]) => message as string);
  return { passed: count('tests') - failed - skips.length, failed, skips, report };
}
