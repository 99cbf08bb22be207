/** Keeps two processes from writing the same output. */
import { open, readFile, rm } from 'node:fs/promises';

import { refuse } from './failure.ts';

/**
 * @returns what releases it
 * @throws BulkError while another process that runs holds it
 */
export async function lock(path: string): Promise<() => Promise<void>> {
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      const handle = await open(path, 'wx');
      await handle.writeFile(`${process.pid}\n`);
      await handle.close();
      return () => rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      const holder = Number(await readFile(path, 'utf8').catch(() => ''));
      if (holder !== process.pid && isRunning(holder)) {
        refuse(`Process ${holder} is writing this output. Wait for it; if it is another program, remove ${path}.`);
      }
      // Its holder was killed.
      await rm(path, { force: true });
    }
  }
  return refuse(`${path} cannot be made: another process is beginning the same output.`);
}

function isRunning(pid: number): boolean {
  if (!(pid > 0)) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
