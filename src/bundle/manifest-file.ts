/** The bytes of a manifest, before anything is known of its bundle. */
import { join } from 'node:path';

import { close, openPlain, readWhole } from './plain-file.ts';

/** Bytes. A manifest has tens of kilobytes; what is larger is something else, and is not read into memory. */
const LARGEST_MANIFEST = 16 * 1024 * 1024;

/** @param root as `bundleRoot` has it @throws BundleError for what is no plain file, or too large for a manifest */
export async function readManifestFile(root: string): Promise<Buffer> {
  const opened = await openPlain(join(root, 'manifest.json'), 'manifest.json');
  try {
    return await readWhole(opened, 'manifest.json', LARGEST_MANIFEST);
  } finally {
    await close(opened.descriptor);
  }
}
