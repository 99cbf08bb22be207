/** Where a bundle's files really are. */
import { realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';

import { BundleError } from './problem.ts';

/**
 * The folder that really holds the files, links on the way to it followed, so that all files come from one state of it.
 *
 * Kubernetes fills volumes of ConfigMaps, Secrets and projections through a link `..data`, which it turns to a new
 * folder in one step; the names beside it are links into it.
 *
 * @throws BundleError when `..data` leads out of the folder
 */
export async function bundleRoot(folder: string): Promise<string> {
  const root = await realpath(folder);
  const data = await realpath(join(root, '..data')).catch(() => undefined);
  if (data === undefined) return root;
  if (!data.startsWith(root + sep)) throw new BundleError(['..data leads out of the folder']);
  return data;
}
