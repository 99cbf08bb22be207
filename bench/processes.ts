/** What a process and its descendants use of memory and processor, from /proc (Linux; elsewhere nothing is known). */
import { readdirSync, readFileSync } from 'node:fs';

import { tenth } from './statistics.ts';

export interface ProcessUse {
  readonly pid: number;
  /** `main`, or the role of a child: `tokenizer`, `inference`. */
  readonly role: string;
  /** MiB; each shared page divided among those who share it, so sums are honest. */
  readonly pssMiB: number;
  /** Of `pssMiB`, what is no file's content: heaps, stacks. */
  readonly anonymousMiB: number;
  /** Since the process began. */
  readonly cpuSeconds: number;
}

/** Linux counts a process's time in hundredths of a second wherever Node runs (USER_HZ). */
const TICKS_PER_SECOND = 100;

/** @returns an empty list where there is no /proc */
export function useOfTree(root: number): ProcessUse[] {
  const parents = new Map(pids().map((pid) => [pid, parentOf(pid)]));
  const belongs = (pid: number | undefined): boolean =>
    pid === root || (pid !== undefined && belongs(parents.get(pid)));
  return [...parents.keys()].filter(belongs).flatMap((pid) => useOf(pid, pid === root));
}

/** What reports keep of each process's memory. */
export function memoryByProcess(uses: readonly ProcessUse[] = []) {
  return uses.map(({ role, pssMiB, anonymousMiB }) => ({
    role,
    pssMiB: tenth(pssMiB),
    anonymousMiB: tenth(anonymousMiB),
  }));
}

export function totalPss(uses: readonly ProcessUse[]): number {
  return uses.reduce((sum, { pssMiB }) => sum + pssMiB, 0);
}

/** Processor seconds by role; a child that ended in between counts as what is left of the others. */
export function cpuByRole(uses: readonly ProcessUse[]): Readonly<Record<string, number>> {
  const sums: Record<string, number> = {};
  for (const { role, cpuSeconds } of uses) sums[role] = (sums[role] ?? 0) + cpuSeconds;
  return sums;
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

function useOf(pid: number, isRoot: boolean): ProcessUse[] {
  const rollup = read(`/proc/${pid}/smaps_rollup`);
  if (rollup === '') return [];
  const mib = (field: string) => Number(new RegExp(`^${field}:\\s*(\\d+)`, 'm').exec(rollup)?.[1] ?? 0) / 1024;
  // The program's name may hold spaces; the fields are counted from its closing bracket. 14 and 15 are utime and stime.
  const fields = read(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ') ?? [];
  const ticks = Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  const role = isRoot ? 'main' : (read(`/proc/${pid}/cmdline`).split('\0').filter(Boolean).at(-1) ?? '');
  return [{ pid, role, pssMiB: mib('Pss'), anonymousMiB: mib('Pss_Anon'), cpuSeconds: ticks / TICKS_PER_SECOND }];
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
