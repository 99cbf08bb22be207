/** Which packages the service needs when it runs, as package-lock.json has them. */
import { readFile } from 'node:fs/promises';

export interface LockedPackage {
  /** Where it lies, such as `node_modules/a/node_modules/b`. */
  readonly path: string;
  readonly name: string;
  readonly version: string;
  /** SPDX expression; undefined when the package states none. */
  readonly license: string | undefined;
}

interface LockEntry {
  readonly version?: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly link?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>;
}

export type Lock = Readonly<Record<string, LockEntry>>;

/** What is installed with a package that the service uses, and is not used by the service: package -> name -> why. */
export const LEFT_OUT: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  '@huggingface/transformers': {
    'onnxruntime-web': 'runs models in browsers; what Node needs of it is in the bundle of transformers',
    sharp: 'reads pictures; imported without being used, so a module of that name stands in for it',
  },
  'onnxruntime-node': {
    'adm-zip': 'unpacks what the install script downloads, which does not run',
    'global-agent': 'is the proxy of that download',
  },
};

export async function readLock(file: URL = new URL('../../package-lock.json', import.meta.url)): Promise<Lock> {
  return (JSON.parse(await readFile(file, 'utf8')) as { packages: Lock }).packages;
}

/** Every package that `npm ci --omit=dev` may install for the service, on any platform. */
export function productionPackages(lock: Lock): readonly LockedPackage[] {
  return Object.entries(lock)
    .filter(([path, { dev, link }]) => path.startsWith('node_modules/') && dev !== true && link !== true)
    .map(([path, entry]) => describe(path, entry));
}

/**
 * The packages that the service loads: what its dependencies need, less what LEFT_OUT names and whatever only that needs.
 *
 * @throws Error when a package is needed and not in the lock
 */
export function imagePackages(lock: Lock): readonly LockedPackage[] {
  const kept = new Map<string, LockedPackage>();
  const waiting = [''];
  for (let from = waiting.pop(); from !== undefined; from = waiting.pop()) {
    for (const [name, optional] of needs(lock, from)) {
      const path = resolve(lock, from, name);
      if (path === undefined) {
        if (optional) continue;
        throw new Error(`package-lock.json has no ${name} for ${from || 'the service'}: run npm install`);
      }
      if (kept.has(path)) continue;
      kept.set(path, describe(path, lock[path] as LockEntry));
      waiting.push(path);
    }
  }
  return [...kept.values()].sort((one, other) => (one.path < other.path ? -1 : 1));
}

/** Names, and whether the package works without. */
function needs(lock: Lock, from: string): readonly (readonly [string, boolean])[] {
  const entry = lock[from] ?? {};
  const without = LEFT_OUT[nameOf(from)] ?? {};
  const names = (of: Readonly<Record<string, string>> | undefined) => Object.keys(of ?? {});
  const optional = (name: string) =>
    name in (entry.optionalDependencies ?? {}) || entry.peerDependenciesMeta?.[name]?.optional === true;
  // A peer that is optional is only there because somebody else wants it.
  const peers = names(entry.peerDependencies).filter((name) => !optional(name));
  return [...names(entry.dependencies), ...names(entry.optionalDependencies), ...peers]
    .filter((name) => !(name in without))
    .map((name) => [name, optional(name)] as const);
}

/** As Node looks for it: beside the package that asks, then outwards. */
function resolve(lock: Lock, from: string, name: string): string | undefined {
  for (let folder = from; ; ) {
    const path = `${folder === '' ? '' : `${folder}/`}node_modules/${name}`;
    if (path in lock) return path;
    if (folder === '') return undefined;
    folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')));
  }
}

function describe(path: string, { version = '', license }: LockEntry): LockedPackage {
  return { path, name: nameOf(path), version, license };
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
}
