/**
 * Copies bundles into a folder and lets none pass that is not the one that is meant.
 *
 *     node fetch-models.mts PINS TARGET
 *
 * Each line of PINS is the SHA-256 of a bundle's manifest.json and where the bundle lies: a folder, or an address that ends in
 * the name of one. The manifest lists the size and SHA-256 of every other file.
 */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';

interface Stored {
  readonly file: string;
  readonly sha256: string;
  readonly bytes: number;
}
interface Manifest {
  readonly graphs: readonly (Stored & { readonly externalData?: readonly Stored[] })[];
  readonly files: readonly Stored[];
}

const MANIFEST = 'manifest.json';
const MANIFEST_SUM = 'manifest.sha256';
const MANIFEST_BYTES = 4 * 2 ** 20;
/** Nothing that a manifest names may lie anywhere but beside it. */
const PLAIN_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;
const SILENCE_MS = 60_000;

async function open(source: string, file: string): Promise<Readable> {
  if (!/^https?:/.test(source)) return createReadStream(join(source, file));
  const answer = await fetch(`${source.replace(/\/$/, '')}/${file}`, { signal: AbortSignal.timeout(SILENCE_MS) });
  if (!answer.ok || answer.body === null) throw new Error(`the server answered ${answer.status}`);
  return Readable.fromWeb(answer.body);
}

/** @throws Error when size or checksum differ; nothing beyond the size is read */
async function copy(source: string, { file, sha256, bytes }: Stored, target: string, exactly = true): Promise<void> {
  const hash = createHash('sha256');
  let size = 0;
  const check = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      hash.update(chunk);
      done(size > bytes ? new Error(`it is larger than ${bytes} bytes`) : null, chunk);
    },
  });
  try {
    await pipeline(await open(source, file), check, createWriteStream(join(target, file), { flags: 'wx' }));
    if (exactly && size !== bytes) throw new Error(`it has ${size} bytes, expected ${bytes}`);
    const found = hash.digest('hex');
    if (found !== sha256) throw new Error(`its SHA-256 is ${found}, expected ${sha256}`);
  } catch (error) {
    throw new Error(`${source}/${file} is refused: ${(error as Error).message}`);
  }
}

async function fetchBundle(source: string, sha256: string, target: string): Promise<void> {
  const name = basename(source.replace(/\/$/, ''));
  // A name that begins with a dot is left alone by the service until the bundle is whole.
  const partial = join(target, `.${name}`);
  await rm(partial, { recursive: true, force: true });
  await mkdir(partial);
  await copy(source, { file: MANIFEST, sha256, bytes: MANIFEST_BYTES }, partial, false);
  await writeFile(join(partial, MANIFEST_SUM), `${sha256}  ${MANIFEST}\n`);
  const manifest = JSON.parse(await readFile(join(partial, MANIFEST), 'utf8')) as Manifest;
  for (const stored of [...manifest.graphs, ...manifest.graphs.flatMap((g) => g.externalData ?? []), ...manifest.files]) {
    if (!PLAIN_NAME.test(stored.file)) throw new Error(`${source} names a file outside of itself: ${stored.file}`);
    await copy(source, stored, partial);
  }
  const final = join(target, name);
  await rm(final, { recursive: true, force: true });
  await rename(partial, final);
  console.log(`${name}: as pinned`);
}

async function fetchAll(pins: string, target: string): Promise<void> {
  const lines = (await readFile(pins, 'utf8')).split('\n').map((line) => line.trim());
  const pinned = lines.filter((line) => line !== '' && !line.startsWith('#'));
  if (pinned.length === 0) throw new Error(`${pins} names no bundle`);
  for (const line of pinned) {
    const [, sha256 = '', source = ''] = /^([0-9a-f]{64})\s+(\S+)$/.exec(line) ?? [];
    if (source === '') throw new Error(`A line of ${pins} must be a SHA-256 and a place, got: ${line}`);
    await fetchBundle(source, sha256, target);
  }
}

const [pins = '', target = ''] = process.argv.slice(2);
await fetchAll(pins, target).catch((error: Error) => {
  console.error(error.message);
  // Not thrown: where the process is ended from within, Node 24 may wait for its own compiler's threads for ever
  // (nodejs/node#54918), and then the pod would never start.
  process.exitCode = 1;
});
