/** The service's child processes, seen from outside (Linux). */
import { readdirSync, readFileSync } from 'node:fs';

export interface Child {
  readonly pid: number;
  readonly role: string;
}

/** Children of a process that run, by the role they were started with. */
export function childrenOf(parent: number): Child[] {
  return readdirSync('/proc').flatMap((name) => {
    const pid = Number(name);
    if (!Number.isInteger(pid)) return [];
    const status = read(`/proc/${pid}/status`);
    if (Number(/^PPid:\s*(\d+)/m.exec(status)?.[1]) !== parent || /^State:\s*Z/m.test(status)) return [];
    const role = read(`/proc/${pid}/cmdline`).split('\0').at(-2) ?? '';
    return [{ pid, role }];
  });
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
