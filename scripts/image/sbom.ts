/**
 * What an image holds, as a CycloneDX document: the npm packages, Node itself and the models.
 *
 *     npm run -s sbom > sbom.cdx.json
 *
 * npm describes the packages; those that no image holds are taken out again. The document is the same for the same
 * commit: its time is SOURCE_DATE_EPOCH, and its serial number is made from its content.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { imagePackages, readLock } from './packages.ts';

const ROOT = new URL('../../', import.meta.url);

/** A part as CycloneDX 1.5 describes it. */
export interface Component {
  readonly 'bom-ref': string;
  readonly type: string;
  readonly name: string;
  readonly version: string;
  readonly [property: string]: unknown;
}

interface Bom {
  readonly serialNumber: string;
  readonly metadata: { readonly component: Component; readonly [property: string]: unknown };
  readonly components: readonly Component[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn?: readonly string[] }[];
  readonly [property: string]: unknown;
}

/**
 * @param epoch seconds since 1970
 * @param system what an image holds beside: libraries of the system
 */
export async function writeSbom(epoch: number, system: readonly Component[] = []): Promise<Bom> {
  const whole = npmSbom();
  const kept = new Set(imagePackages(await readLock()).map(({ name, version }) => `${name}@${version}`));
  const own = whole.metadata.component;
  const extra = [node(), ...system, ...(await bundles(new URL('models/', ROOT)))];
  const refs = new Set([own['bom-ref'], ...kept]);
  const packages = whole.components.filter((component) => kept.has(component['bom-ref']));
  const missing = [...kept].filter((name) => !packages.some((component) => component['bom-ref'] === name));
  if (missing.length > 0) throw new Error(`npm sbom does not describe ${missing.join(', ')}`);

  const bom = {
    ...whole,
    metadata: {
      ...whole.metadata,
      timestamp: new Date(epoch * 1000).toISOString(),
      // npm calls the root after the folder that it lies in.
      component: { ...own, type: 'application', name: 'ds-lora-service' },
    },
    components: [...packages, ...extra],
    dependencies: [
      ...whole.dependencies
        .filter(({ ref }) => refs.has(ref))
        .map(({ ref, dependsOn = [] }) => ({
          ref,
          dependsOn: [
            ...dependsOn.filter((other) => refs.has(other)),
            ...(ref === own['bom-ref'] ? extra.map((component) => component['bom-ref']) : []),
          ],
        })),
    ],
  };
  return { ...bom, serialNumber: `urn:uuid:${uuidOf({ ...bom, serialNumber: '' })}` };
}

/** Of the versions in the lock file, without looking at what is installed. */
function npmSbom(): Bom {
  // Not with --omit=dev, which also leaves out what development shares with production.
  const args = ['sbom', '--package-lock-only', '--sbom-format=cyclonedx'];
  const output = execFileSync('npm', args, {
    cwd: fileURLToPath(ROOT),
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  return JSON.parse(output) as Bom;
}

function node(): Component {
  const version = process.versions.node;
  const purl = `pkg:generic/node@${version}`;
  return { 'bom-ref': purl, type: 'platform', name: 'node', version, purl, licenses: [{ license: { id: 'MIT' } }] };
}

async function bundles(models: URL): Promise<readonly Component[]> {
  const folders = (await readdir(models, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  return Promise.all(
    folders
      .map(({ name }) => name)
      .sort()
      .map(async (folder) => {
        const text = await readFile(new URL(`${folder}/manifest.json`, models), 'utf8');
        const { name, version, license, graphs } = JSON.parse(text) as {
          name: string;
          version: string;
          license: string;
          graphs: readonly { file: string; sha256: string }[];
        };
        return {
          'bom-ref': `model/${name}@${version}`,
          type: 'machine-learning-model',
          name,
          version,
          licenses: [{ expression: license }],
          components: graphs.map(({ file, sha256 }) => ({
            'bom-ref': `model/${name}@${version}/${file}`,
            type: 'file',
            name: file,
            hashes: [{ alg: 'SHA-256', content: sha256 }],
          })),
        };
      }),
  );
}

/** A version 8 UUID (RFC 9562): bits of our own choice, here of a hash. */
function uuidOf(content: object): string {
  const hex = createHash('sha256').update(JSON.stringify(content)).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

if (import.meta.main) {
  const epoch = Number(process.env.SOURCE_DATE_EPOCH || '0');
  if (!Number.isInteger(epoch)) throw new Error(`SOURCE_DATE_EPOCH must be whole seconds since 1970: ${epoch}`);
  process.stdout.write(`${JSON.stringify(await writeSbom(epoch), null, 2)}\n`);
}
