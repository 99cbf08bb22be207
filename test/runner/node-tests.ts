/** Runs a folder of tests with Node's own runner and takes the counts from its events. */
import { globSync } from 'node:fs';
import { join, relative } from 'node:path';
import { run } from 'node:test';

import { ROOT } from './command.ts';
import { check, type Outcome } from './outcome.ts';

interface Failure {
  readonly name: string;
  readonly file?: string | undefined;
  readonly line?: number | undefined;
  readonly details: { readonly error: Error & { readonly failureType?: string } };
}

/** Milliseconds after which a run names this many of its slowest files. */
const LONG_MS = 30_000;
const SHOWN = 5;

/**
 * @param folders relative to the repository's root
 * @param timeoutMs after which a file of tests has failed
 * @param first names of files that begin before the others, so that none of them runs on alone at the end
 */
export async function runNodeTests(
  folders: readonly string[],
  timeoutMs: number,
  first: readonly string[] = [],
): Promise<Outcome> {
  const all = folders.map((folder) => globSync(join(ROOT, folder, '**/*.test.ts')).sort());
  const empty = folders.filter((_, i) => all[i]?.length === 0);
  if (empty.length > 0) return check(false, `${empty.join(', ')} holds no tests`);
  const early = first.map((name) => join(ROOT, name));
  const files = [...early, ...all.flat().filter((file) => !early.includes(file))];

  const begun = performance.now();
  const durations = new Map<string, number>();
  const failures: string[] = [];
  const skips: string[] = [];
  let passed = 0;
  let failed = 0;
  const events = run({ files, concurrency: 2, timeout: timeoutMs, cwd: ROOT });
  events.on('test:fail', (failure: Failure) => {
    // A group that failed because of its tests says nothing that its tests have not said.
    if (failure.details.error.failureType !== 'subtestsFailed') failures.push(describe(failure));
  });
  events.on('test:pass', ({ name, skip }) => {
    if (skip !== undefined) skips.push(typeof skip === 'string' ? skip : name);
  });
  // Figures that a test has measured; on the outermost level Node itself reports counts.
  events.on('test:diagnostic', ({ nesting, message }) => {
    if (nesting > 0) console.log(`  ${message}`);
  });
  events.on('test:summary', (summary) => {
    if (summary.file !== undefined) return void durations.set(relative(ROOT, summary.file), summary.duration_ms);
    const { tests, skipped, todo } = summary.counts;
    passed = summary.counts.passed;
    failed = tests - passed - skipped - todo;
  });
  for await (const _event of events);
  if (performance.now() - begun > LONG_MS) console.log(slowest(durations));
  return { passed, failed, skips, report: failures.join('\n\n') };
}

/** Where to look when the tests take too long. */
function slowest(durations: ReadonlyMap<string, number>): string {
  const first = [...durations].sort(([, one], [, other]) => other - one).slice(0, SHOWN);
  return `  slowest files: ${first.map(([file, ms]) => `${file} ${(ms / 1000).toFixed(0)} s`).join(', ')}`;
}

function describe({ name, file, line, details }: Failure): string {
  const place = file === undefined ? '' : ` (${relative(ROOT, file)}:${line})`;
  const { error } = details;
  const cause = error.cause instanceof Error ? error.cause : error;
  return `✖ ${name}${place}\n${cause.stack ?? cause.message}`;
}
