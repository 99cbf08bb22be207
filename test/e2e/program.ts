/** Programs that tests need and a machine may lack. */
import { spawnSync } from 'node:child_process';

/** What to give a test as `skip`: false where the program is there, else the reason. */
export function skipWithout(program: string): string | false {
  return spawnSync(program, ['--version']).error === undefined ? false : `${program} is not installed`;
}
