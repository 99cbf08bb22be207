/**
 * Builds the image for real, on a Debian that stands in for the official base image.
 *
 * Packages come from where the machine gets them: its certificates and an npm configuration are mounted while the image is
 * built, and nothing of them may stay in it. A marked secret in that configuration proves it.
 */
import { execFileSync } from 'node:child_process';
import { copyFile, mkdtemp, readFile, realpath, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import type { Podman } from './podman.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt';

/** Stands where a token of a private registry would stand. */
export const MARKED_SECRET = 'marked-secret-of-the-build';

/** `FROM` of each stage, in order, without other stages and `scratch`. */
export async function baseImages(): Promise<readonly string[]> {
  const text = await readFile(join(ROOT, 'Dockerfile'), 'utf8');
  const stages = new Set([...text.matchAll(/^FROM \S+ AS (\S+)$/gm)].map(([, name]) => name));
  const bases = [...text.matchAll(/^FROM (\S+)/gm)].map(([, name]) => name as string);
  return [...new Set(bases.filter((name) => name !== 'scratch' && !stages.has(name)))];
}

/** Imports the stand-in under the names of the bases of Node and, with Python as Debian has it, of Python. */
export async function importBases(podman: Podman, language: 'node' | 'python' = 'node'): Promise<void> {
  const archive = execFileSync(join(ROOT, 'test/containers/base.sh'), { encoding: 'utf8' }).trim();
  await podman.run('import', '--quiet', archive, 'localhost/stand-in:debian');
  // npm as it is on this machine, Node as the project pins it: both are what the official image adds to Debian.
  const npm = dirname(
    dirname(await realpath(execFileSync('sh', ['-c', 'command -v npm'], { encoding: 'utf8' }).trim())),
  );
  const context = await mkdtemp(join(podman.folder, 'base-'));
  await copyFile(join(ROOT, 'node_modules/node/bin/node'), join(context, 'node'));
  execFileSync('cp', ['-r', npm, join(context, 'npm')]);
  const steps = {
    node: [
      'COPY node /usr/local/bin/node',
      'COPY npm /usr/local/lib/node_modules/npm',
      'RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm',
    ],
    python: [
      'RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates python3-pip python3-venv',
      'RUN ln -s python3 /usr/bin/python',
    ],
  };
  await writeFile(join(context, 'Dockerfile'), `FROM localhost/stand-in:debian\n${steps[language].join('\n')}\n`);
  const names = (await baseImages()).filter((name) => name.startsWith(`${language}:`));
  const tags = names.flatMap((name) => ['--tag', `localhost/${name}`]);
  await podman.run('build', '--quiet', '--isolation', 'chroot', '--pull=never', ...tags, context);
}

/** @param options more of `podman build` */
export async function buildImage(podman: Podman, tag: string, ...options: readonly string[]): Promise<void> {
  const mounts = await machineSettings(podman.folder);
  const epoch = execFileSync('git', ['log', '-1', '--format=%ct'], { cwd: ROOT, encoding: 'utf8' }).trim();
  const revision = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).trim();
  const values = ['--build-arg', `SOURCE_DATE_EPOCH=${epoch}`, '--build-arg', `REVISION=${revision}`];
  const common = ['--quiet', '--isolation', 'chroot', '--pull=never', '--format', 'docker', '--timestamp', epoch];
  await podman.run('build', ...common, ...values, ...mounts, ...options, '--tag', tag, ROOT);
}

/** How this machine reaches registries, as mounts that exist during the build alone. */
async function machineSettings(folder: string): Promise<readonly string[]> {
  const config = (name: string) => execFileSync('npm', ['config', 'get', name], { encoding: 'utf8' }).trim();
  const lines = [`registry=${config('registry')}`, `//registry.invalid/:_authToken=${MARKED_SECRET}`];
  const mounts: string[] = [];
  if (await exists(CERTIFICATES)) {
    lines.push(`cafile=${CERTIFICATES}`);
    mounts.push('--volume', `${CERTIFICATES}:${CERTIFICATES}:ro`);
  }
  const file = join(folder, 'npmrc');
  await writeFile(file, `${lines.join('\n')}\n`);
  mounts.push('--volume', `${file}:/usr/local/etc/npmrc:ro`);
  // What `npm ci` has fetched on this machine need not be fetched again; entries are named by their hash.
  const cache = join(config('cache'), '_cacache');
  if (await exists(cache)) mounts.push('--volume', `${cache}:/root/.npm/_cacache`);
  return mounts;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
