/**
 * Virtual environments of Python: made from hashed locks, and used again while they are unchanged.
 * Everything that one holds lies in the `.venv` beside its lock, so removing that folder undoes it.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { ROOT, runCommand } from './command.ts';
import { check, type Outcome } from './outcome.ts';

/** Brings uv, which makes every environment. */
const BOOTSTRAP = join(ROOT, 'training/requirements-bootstrap.lock');

export interface PythonEnvironment {
  /** The interpreter of the environment; it exists once `prepare` has passed. */
  readonly python: string;
  /** Makes the environment, or finds that it is up to date. */
  prepare(): Promise<Outcome>;
}

/** The training package and what its tests need. */
export const TRAINING = pythonEnvironment('training', { editable: true });
/** Clients of the protocols that the service speaks. */
export const CLIENTS = pythonEnvironment('test/clients');
/** kubectl, and the schemas of Kubernetes. */
export const KUBERNETES = pythonEnvironment('test/k8s');
/** Programs that check the Dockerfile and docker-compose.yml. */
export const CONTAINERS = pythonEnvironment('test/containers');
/** Nodes of the Ray cluster that examples/ray runs on. */
export const RAY = pythonEnvironment('examples/ray');

/** The oldest minor version of Python 3 that the training package runs on. */
const OLDEST_MINOR = 11;
const CANDIDATES = ['python3', 'python3.14', 'python3.13', 'python3.12', 'python3.11'];

class StepFailed extends Error {}

/**
 * @param name of the folder that holds `requirements.lock`, relative to the repository's root
 * @param editable whether the folder is a package that is installed from where it is
 */
function pythonEnvironment(name: string, { editable = false } = {}): PythonEnvironment {
  const folder = join(ROOT, name);
  const home = join(folder, '.venv');
  const python = join(home, 'bin/python');
  const lock = join(folder, 'requirements.lock');
  const stamp = join(home, 'made-from');
  /** Outside site-packages, where `uv pip sync` would remove it. */
  const tools = join(home, 'tools');
  const sources = [lock, BOOTSTRAP, ...(editable ? [join(folder, 'pyproject.toml')] : [])];

  async function make(): Promise<void> {
    await rm(stamp, { force: true });
    if ((await runCommand(python, ['-c', 'import pip'])).code !== 0) {
      await step(await findPython(), ['-m', 'venv', '--clear', home]);
    }
    await rm(tools, { recursive: true, force: true });
    await mkdir(tools, { recursive: true });
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-input'];
    const target = ['--root-user-action=ignore', '--require-hashes', '--target', tools];
    await step(python, [...pip, ...target, '-r', BOOTSTRAP]);
    const uv = join(tools, 'bin/uv');
    await step(uv, ['pip', 'sync', '--quiet', '--require-hashes', '--python', python, lock]);
    if (!editable) return;
    await step(uv, [
      'pip',
      'install',
      '--quiet',
      '--python',
      python,
      '--no-deps',
      '--no-build-isolation',
      '-e',
      folder,
    ]);
  }

  return {
    python,
    async prepare() {
      const wanted = await fingerprint(sources);
      const present = await readFile(stamp, 'utf8').catch(() => '');
      if (present === wanted) return check(true, '');
      try {
        await make();
        await writeFile(stamp, wanted);
        return check(true, '');
      } catch (error) {
        if (error instanceof StepFailed) return check(false, error.message);
        throw error;
      }
    },
  };
}

async function fingerprint(files: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const file of files) hash.update(await readFile(file));
  return `${hash.digest('hex')}\n`;
}

async function step(program: string, args: readonly string[]): Promise<void> {
  const { code, output } = await runCommand(program, args);
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
