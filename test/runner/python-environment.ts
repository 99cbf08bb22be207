/**
 * The virtual environment of training/: made from hashed locks, and used again while they are unchanged.
 * Everything it holds lies in training/.venv, so removing that folder undoes it.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { ROOT, runCommand } from './command.ts';
import { check, type Outcome } from './outcome.ts';

const FOLDER = join(ROOT, 'training/.venv');
const STAMP = join(FOLDER, 'made-from');
/** Outside site-packages, where `uv pip sync` would remove it. */
const TOOLS = join(FOLDER, 'tools');
const SOURCES = ['requirements.lock', 'requirements-bootstrap.lock', 'pyproject.toml'];

/** The interpreter of the environment; it exists once `preparePython` has passed. */
export const PYTHON = join(FOLDER, 'bin/python');

/** The oldest minor version of Python 3 that the training package runs on. */
const OLDEST_MINOR = 11;
const CANDIDATES = ['python3', 'python3.14', 'python3.13', 'python3.12', 'python3.11'];

class StepFailed extends Error {}

/** Makes the environment, or finds that it is up to date. */
export async function preparePython(): Promise<Outcome> {
  const wanted = await fingerprint();
  const present = await readFile(STAMP, 'utf8').catch(() => '');
  if (present === wanted) return check(true, '');
  try {
    await make();
    await writeFile(STAMP, wanted);
    return check(true, '');
  } catch (error) {
    if (error instanceof StepFailed) return check(false, error.message);
    throw error;
  }
}

async function fingerprint(): Promise<string> {
  const hash = createHash('sha256');
  for (const name of SOURCES) hash.update(await readFile(join(ROOT, 'training', name)));
  return `${hash.digest('hex')}\n`;
}

async function make(): Promise<void> {
  await rm(STAMP, { force: true });
  if ((await runCommand(PYTHON, ['-c', 'import pip'])).code !== 0) {
    await step(await findPython(), ['-m', 'venv', '--clear', FOLDER]);
  }
  await rm(TOOLS, { recursive: true, force: true });
  await mkdir(TOOLS, { recursive: true });
  const pip = [
    '-m',
    'pip',
    'install',
    '--quiet',
    '--disable-pip-version-check',
    '--no-input',
    '--root-user-action=ignore',
  ];
  await step(PYTHON, [...pip, '--require-hashes', '--target', TOOLS, '-r', 'requirements-bootstrap.lock']);
  const uv = join(TOOLS, 'bin/uv');
  await step(uv, ['pip', 'sync', '--quiet', '--require-hashes', '--python', PYTHON, 'requirements.lock']);
  const install = ['pip', 'install', '--quiet', '--python', PYTHON, '--no-deps', '--no-build-isolation', '-e', '.'];
  await step(uv, install);
}

async function step(program: string, args: readonly string[]): Promise<void> {
  const { code, output } = await runCommand(program, args, 'training');
  if (code !== 0) throw new StepFailed(`${program} ${args.join(' ')} failed:\n${output}`);
}

async function findPython(): Promise<string> {
  const script = 'import sys, venv, ensurepip; print(sys.version_info[0] * 1000 + sys.version_info[1])';
  for (const name of CANDIDATES) {
    const { code, output } = await runCommand(name, ['-c', script]);
    if (code === 0 && Number(output) >= 3000 + OLDEST_MINOR) return name;
  }
  throw new StepFailed(
    `Python 3.${OLDEST_MINOR} or newer with its venv module is needed, as python3 or python3.${OLDEST_MINOR} on the path ` +
      '(on Debian and Ubuntu: apt-get install python3 python3-venv).',
  );
}
