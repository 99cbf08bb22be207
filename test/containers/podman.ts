/**
 * Podman with settings and storage of its own, which works without systemd, without a bridge and as root in a container.
 * Nothing of it is left behind.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const BUFFER = 64 * 1024 * 1024;

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Podman {
  /** A folder for files of the test, removed at the end. */
  readonly folder: string;
  /** For programs that start podman themselves. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** @returns standard output @throws Error with all that was printed when it fails */
  run(...args: readonly string[]): Promise<string>;
  /** As `run`, and failing is an answer too. */
  attempt(...args: readonly string[]): Promise<Finished>;
  /** Ends all containers and removes the storage. */
  close(): Promise<void>;
}

/** What the machine lacks for containers; undefined when nothing is. */
export function whyNoContainers(): string | undefined {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'containers are run by root on Linux';
  const missing = ['podman', 'runc', 'debootstrap'].filter((program) => !isInstalled(program));
  return missing.length === 0 ? undefined : `${missing.join(', ')} missing: apt-get install podman runc debootstrap`;
}

export async function openPodman(): Promise<Podman> {
  const folder = await mkdtemp(join(tmpdir(), 'ds-lora-podman-'));
  const env = await settings(folder);
  // A container that runs out of memory leaves a file where podman was started.
  const options = { env, maxBuffer: BUFFER, cwd: folder };

  async function attempt(...args: readonly string[]): Promise<Finished> {
    return execute('podman', args, options).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      ({ code, stdout = '', stderr = '', message }) => ({
        code: typeof code === 'number' ? code : -1,
        stdout,
        stderr: stderr || message,
      }),
    );
  }

  return {
    folder,
    env,
    attempt,
    async run(...args) {
      const { code, stdout, stderr } = await attempt(...args);
      if (code !== 0) throw new Error(`podman ${args.join(' ')} ended with ${code}:\n${stdout}\n${stderr}`);
      return stdout.trim();
    },
    async close() {
      await attempt('rm', '--all', '--force', '--time', '0');
      await attempt('rmi', '--all', '--force');
      await attempt('unmount', '--all', '--force');
      execFileSync('sh', ['-c', 'umount "$1"/storage/graph/overlay 2>/dev/null || true', 'sh', folder]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** crun fails on machines with both versions of cgroups, hence runc. */
async function settings(folder: string): Promise<Podman['env']> {
  const storage = join(folder, 'storage');
  await mkdir(storage);
  const files = {
    'containers.conf': [
      '[containers]',
      'netns = "host"',
      'default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]',
      '[engine]',
      'runtime = "runc"',
      'cgroup_manager = "cgroupfs"',
      'events_logger = "file"',
      // Names without a registry are those of local images, also for Docker Compose.
      'compat_api_enforce_docker_hub = false',
    ],
    'storage.conf': ['[storage]', 'driver = "overlay"', `graphroot = "${storage}/graph"`, `runroot = "${storage}/run"`],
  };
  for (const [name, lines] of Object.entries(files)) await writeFile(join(folder, name), `${lines.join('\n')}\n`);
  return {
    ...process.env,
    CONTAINERS_CONF: join(folder, 'containers.conf'),
    CONTAINERS_STORAGE_CONF: join(folder, 'storage.conf'),
  };
}

function isInstalled(program: string): boolean {
  try {
    execFileSync('sh', ['-c', 'command -v "$1"', 'sh', program], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
