/** Makes files independent of who wrote them, where and when. */
import { chmod, lutimes, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Everyone may read everything below the folder, the owner alone write; what was executable stays so.
 *
 * @param epoch seconds since 1970, which become the time of everything
 */
export async function settle(folder: string, epoch: number): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isSymbolicLink()) {
      const executable = entry.isDirectory() || ((await stat(path)).mode & 0o100) !== 0;
      await chmod(path, executable ? 0o755 : 0o644);
    }
    await lutimes(path, epoch, epoch);
  }
  await lutimes(folder, epoch, epoch);
}
