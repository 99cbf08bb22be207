/** The bytes of a manifest, before anything is known of its bundle. */
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';

import { close, openPlain, readWhole } from './plain-file.ts';

/**
 * What `sha256sum manifest.json` prints. The manifest states the checksum of every other file, and this file the
 * manifest's own, so that damage which leaves it well-formed is noticed as well. A bundle may be without it.
 */
export const MANIFEST_SUM_FILE = 'manifest.sha256';
/** Bytes. */
const LARGEST_SUM = 1024;

/** Bytes. A manifest has tens of kilobytes; what is larger is something else, and is not read into memory. */
const LARGEST_MANIFEST = 16 * 1024 * 1024;

/** @param root as `bundleRoot` has it @throws BundleError for what is no plain file, or too large for a manifest */
export function readManifestFile(root: string): Promise<Buffer> {
  return readPlain(root, 'manifest.json', LARGEST_MANIFEST);
}

/**
 * @param sha256 of the manifest as it was read, hexadecimal
 * @returns problems; none where the bundle has no such file
 */
export async function checkManifestSum(root: string, sha256: string): Promise<readonly string[]> {
  if ((await lstat(join(root, MANIFEST_SUM_FILE)).catch(() => undefined)) === undefined) return [];
  const stated = (await readPlain(root, MANIFEST_SUM_FILE, LARGEST_SUM)).toString('latin1');
  if (stated.trimEnd() === `${sha256}  manifest.json`) return [];
  return [
    `manifest.json is not the one of ${MANIFEST_SUM_FILE}: copy the bundle again; who changed it on purpose runs ` +
      `\`sha256sum manifest.json > ${MANIFEST_SUM_FILE}\` in its folder`,
  ];
}

async function readPlain(root: string, name: string, largest: number): Promise<Buffer> {
  const opened = await openPlain(join(root, name), name);
  try {
    return await readWhole(opened, name, largest);
  } finally {
    await close(opened.descriptor);
  }
}
