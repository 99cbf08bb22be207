/**
 * Lays out the file system of the image below a folder, in parts that change at different times and so become layers:
 *
 *     node scripts/image/assemble.ts OUT
 *
 *     OUT/runtime    Node, the libraries that it and onnxruntime load, the user
 *     OUT/modules    /app/node_modules: what the service loads, for this platform
 *     OUT/models     /app/models
 *     OUT/service    /app: the service itself, policies, SBOM, licences
 *
 * Nothing else gets in: no shell, no package manager. All times are SOURCE_DATE_EPOCH, so that equal content is equal
 * bytes. Runs in the build stage of the Dockerfile, on Debian.
 */
import { execFileSync } from 'node:child_process';
import { chmod, cp, mkdir, readdir, realpath, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { licenseTable } from './licenses.ts';
import { imagePackages, LEFT_OUT, type LockedPackage, readLock } from './packages.ts';
import { type Component, writeSbom } from './sbom.ts';
import { settle } from './settle.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Types, sources that Node would not run, maps and manuals; licences stay. */
const NOT_LOADED = /\.(?:[cm]?ts|map|md|markdown)$/;
const NEVER = /(?:^|\/)(?:\.github|test|tests|__tests__)$/;
/** The number that distroless images give to their user without rights. */
const USER = 65_532;

const [out] = process.argv.slice(2);
if (out === undefined) throw new Error('Say where to: node scripts/image/assemble.ts OUT');
const epoch = Number(process.env.SOURCE_DATE_EPOCH || '0');

await rm(out, { recursive: true, force: true });
const packages = imagePackages(await readLock());
for (const found of packages) await copyPackage(found, join(out, 'modules/app'));
await standIn('sharp', join(out, 'modules/app/node_modules'));
const libraries = await runtime(join(out, 'runtime'));
await cp(join(ROOT, 'models'), join(out, 'models/app/models'), { recursive: true });
await service(join(out, 'service/app'), packages, libraries);
await settle(out, epoch);
await chmod(join(out, 'runtime/tmp'), 0o1777);

async function service(app: string, held: readonly LockedPackage[], debian: readonly Component[]): Promise<void> {
  for (const part of ['src', 'policies', 'package.json', 'LICENSE'])
    await cp(join(ROOT, part), join(app, part), { recursive: true });
  await writeFile(join(app, 'licenses.md'), licenseTable(held));
  await writeFile(join(app, 'sbom.cdx.json'), `${JSON.stringify(await writeSbom(epoch, debian), null, 2)}\n`);
}

async function copyPackage({ path, name }: LockedPackage, app: string): Promise<void> {
  const from = join(ROOT, path);
  await cp(from, join(app, path), {
    recursive: true,
    filter: (source) => {
      const inner = source.slice(from.length + 1);
      // Those that are needed are copied by themselves.
      if (inner === 'node_modules') return false;
      if (NOT_LOADED.test(source) || NEVER.test(inner)) return false;
      return isForThisPlatform(name, inner) && isForNode(name, inner);
    },
  });
}

/** onnxruntime-node brings its library for five platforms. */
function isForThisPlatform(name: string, inner: string): boolean {
  const [, platform, arch] = /^bin\/napi-v\d+\/([^/]+)(?:\/([^/]+))?/.exec(inner) ?? [];
  if (name !== 'onnxruntime-node' || platform === undefined) return true;
  return platform === process.platform && (arch === undefined || arch === process.arch);
}

/** transformers brings its bundle for browsers too, each also minified, and the sources of all. */
function isForNode(name: string, inner: string): boolean {
  if (name !== '@huggingface/transformers') return true;
  return !/^(?:src|types)$/.test(inner) && !/^dist\/(?!transformers\.node\.mjs$)/.test(inner);
}

/** A module that can be imported and says what is missing when it is used. */
async function standIn(name: string, folder: string): Promise<void> {
  const reasons = Object.values(LEFT_OUT).flatMap((names) => (name in names ? [names[name]] : []));
  if (reasons.length === 0) throw new Error(`${name} is not left out of the image, so nothing must stand in for it`);
  await mkdir(join(folder, name), { recursive: true });
  const version = '0.0.0';
  const description = `Stands in for ${name}, which this image leaves out`;
  await writeFile(
    join(folder, name, 'package.json'),
    `${JSON.stringify({ name, version, description, type: 'module', exports: './index.js' }, null, 2)}\n`,
  );
  await writeFile(
    join(folder, name, 'index.js'),
    `export default function missing() {\n  throw new Error('${name} is not part of this image');\n}\n`,
  );
}

/** @returns the Debian packages that libraries were taken of */
async function runtime(root: string): Promise<readonly Component[]> {
  const binding = join(out as string, 'modules/app/node_modules/onnxruntime-node/bin');
  const native = (await readdir(binding, { recursive: true })).filter((file) => /\.(?:node|so(?:\.\d+)?)$/.test(file));
  const programs = [process.execPath, ...native.map((file) => join(binding, file))];
  const libraries = new Set(programs.flatMap(librariesOf).filter((file) => !file.startsWith(out as string)));
  await copyFile(process.execPath, join(root, 'usr/local/bin/node'));
  for (const library of libraries) await copyFile(library, join(root, library));

  const owners = await recordOwners([...libraries], root);
  for (const folder of ['app', 'tmp', 'home/nonroot']) await mkdir(join(root, folder), { recursive: true });
  await mkdir(join(root, 'etc'), { recursive: true });
  await writeFile(join(root, 'etc/passwd'), `nonroot:x:${USER}:${USER}:nonroot:/home/nonroot:/sbin/nologin\n`);
  await writeFile(join(root, 'etc/group'), `nonroot:x:${USER}:\n`);
  await writeFile(join(root, 'etc/nsswitch.conf'), 'hosts: files dns\n');
  // Scanners ask it whose packages these are.
  await copyFile('/etc/os-release', join(root, 'etc/os-release'));
  return owners;
}

/** Absolute paths of what the loader takes for a program, and the loader itself. */
function librariesOf(program: string): readonly string[] {
  const found = execFileSync('ldd', [program], { encoding: 'utf8' });
  if (found.includes('not found')) throw new Error(`${program} lacks a library:\n${found}`);
  return [...found.matchAll(/(?:=> |^\s*)(\/\S+) \(/gm)].map(([, file]) => file as string);
}

/** Follows links: where the loader looks, the file itself lies. */
async function copyFile(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await cp(await realpath(from), to);
}

/** Tells scanners which Debian packages the libraries are of, in the way that distroless images do. */
async function recordOwners(files: readonly string[], root: string): Promise<readonly Component[]> {
  const owners = new Set<string>();
  for (const file of files) {
    // The file may be known by the name that it had before /lib became a link to /usr/lib.
    const names = new Set([file, await realpath(file), (await realpath(file)).replace(/^\/usr/, '')]);
    const owner = [...names].map(ownerOf).find((name) => name !== undefined);
    if (owner === undefined) throw new Error(`No Debian package owns ${file}`);
    owners.add(owner);
  }
  const records = join(root, 'var/lib/dpkg/status.d');
  await mkdir(records, { recursive: true });
  const components: Component[] = [];
  for (const owner of [...owners].sort()) {
    const [name = owner] = owner.split(':');
    const record = execFileSync('dpkg-query', ['--status', owner], { encoding: 'utf8' });
    await writeFile(join(records, name), record);
    await copyFile(`/usr/share/doc/${name}/copyright`, join(root, `usr/share/doc/${name}/copyright`));
    const version = /^Version: (.*)$/m.exec(record)?.[1] ?? '';
    const arch = /^Architecture: (.*)$/m.exec(record)?.[1];
    const purl = `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}?arch=${arch}`;
    components.push({ 'bom-ref': purl, type: 'library', name, version, purl });
  }
  return components;
}

function ownerOf(file: string): string | undefined {
  try {
    return execFileSync('dpkg-query', ['--search', file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .split(': ')
      .at(0);
  } catch {
    return undefined;
  }
}
