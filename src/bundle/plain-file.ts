/** Opens a file of a bundle, or refuses what is none: links, pipes, devices and folders. */
import * as fs from 'node:fs';
import { promisify } from 'node:util';

import { BundleError } from './problem.ts';

// A FileHandle would be closed when it is collected; a number stays open for as long as the bundle serves.
const open = promisify(fs.open);
const fstat = promisify<number, fs.Stats>(fs.fstat);
const read = promisify(fs.read);
export const close = promisify(fs.close);

export interface PlainFile {
  readonly descriptor: number;
  readonly stats: fs.Stats;
}

/**
 * Not through a link, also not through one that appeared after the folder was looked at. Does not wait for the other end of
 * a pipe.
 *
 * @param name of the file, for the message
 * @throws BundleError for what is no plain file
 */
export async function openPlain(path: string, name: string): Promise<PlainFile> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
  const descriptor = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch((error: NodeJS.ErrnoException) => {
    // ELOOP: a link. ENXIO: a socket, or a device that is not there.
    throw error.code === 'ELOOP' || error.code === 'ENXIO' ? notPlain(name) : error;
  });
  const stats = await fstat(descriptor);
  if (stats.isFile()) return { descriptor, stats };
  await close(descriptor);
  throw notPlain(name);
}

function notPlain(name: string): BundleError {
  return new BundleError([`${name} is not a plain file`]);
}

/** The whole content, from the file that is open. @param largest bytes @throws BundleError for a larger file */
export async function readWhole({ descriptor, stats }: PlainFile, name: string, largest: number): Promise<Buffer> {
  if (stats.size > largest)
    throw new BundleError([`${name} has ${stats.size} bytes, at most ${largest} are read of such a file`]);
  const content = Buffer.allocUnsafeSlow(stats.size);
  let filled = 0;
  while (filled < content.length) {
    const { bytesRead } = await read(descriptor, content, filled, content.length - filled, filled);
    if (bytesRead === 0) throw new BundleError([`${name} became shorter while it was read`]);
    filled += bytesRead;
  }
  return content;
}
