/** What tells whether an input is still the file that a run was begun with. */
import { createHash, randomUUID } from 'node:crypto';
import { open } from 'node:fs/promises';

/** Of the beginning and of the end, where Parquet has its index. Bytes. */
const SAMPLE = 1 << 20;

/** @param path undefined: standard input, which is never the same again */
export async function inputIdentity(path: string | undefined): Promise<unknown> {
  if (path === undefined) return randomUUID();
  const handle = await open(path);
  try {
    const { size, mtimeMs } = await handle.stat();
    const hash = createHash('sha256');
    const buffer = Buffer.alloc(Math.min(SAMPLE, size));
    for (const position of [0, size - buffer.length]) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
      hash.update(buffer.subarray(0, bytesRead));
    }
    return { size, mtimeMs, sha256: hash.digest('hex') };
  } finally {
    await handle.close();
  }
}
