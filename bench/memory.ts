/** Memory of a process and all its descendants, from /proc (Linux). */
import { readdirSync, readFileSync } from 'node:fs';

export interface ProcessMemory {
  readonly pid: number;
  readonly command: string;
  /** MiB; shared pages in full. */
  readonly rss: number;
  /** MiB; each shared page divided among those who share it, so sums are honest. */
  readonly pss: number;
}

/** @returns an empty list where there is no /proc */
export function memoryOfTree(root: number): ProcessMemory[] {
  const parents = new Map(pids().map((pid) => [pid, parentOf(pid)]));
  const belongs = (pid: number | undefined): boolean =>
    pid === root || (pid !== undefined && belongs(parents.get(pid)));
  return [...parents.keys()].filter(belongs).flatMap(memoryOf);
}

function pids(): number[] {
  try {
    return readdirSync('/proc').map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
}

function parentOf(pid: number): number | undefined {
  const found = /^PPid:\s*(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1];
  return found === undefined ? undefined : Number(found);
}

function memoryOf(pid: number): ProcessMemory[] {
  const rollup = read(`/proc/${pid}/smaps_rollup`);
  const mib = (name: string) =>
    Math.round(Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(rollup)?.[1] ?? 0) / 1024);
  const [, program = '', role = ''] = read(`/proc/${pid}/cmdline`).split('\0');
  const command = `${program.slice(program.lastIndexOf('/') + 1)} ${role}`.trim();
  return rollup === '' ? [] : [{ pid, command, rss: mib('Rss'), pss: mib('Pss') }];
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
