/** Figures with where they come from: printed as a table, kept as JSON, and written into documents as Markdown. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { cpus as processors, totalmem } from 'node:os';
import { dirname } from 'node:path';

import type { Row } from './measurement.ts';
import { tenth } from './statistics.ts';
import type { Workload } from './workload.ts';

/** What figures hold for. */
export interface Conditions {
  readonly measuredAt: string;
  /** Of the working tree; `+` after it: with changes. */
  readonly commit: string;
  readonly cpu: string;
  readonly usableCpus: number;
  readonly memoryGiB: number;
  readonly node: string;
  readonly onnxruntime: string;
  readonly model: string;
  readonly precision: string;
  readonly texts: string;
  readonly meanTokens: number;
  readonly effort: string;
}

export interface TableReport {
  readonly conditions: Conditions;
  readonly rows: readonly Row[];
}

export function conditionsOf(workload: Workload, cpus: number, effort: string): Conditions {
  const { name, version } = workload.manifest;
  return {
    measuredAt: new Date().toISOString(),
    commit: commit(),
    cpu: processors()[0]?.model ?? 'unknown',
    usableCpus: cpus,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    onnxruntime: (createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string }).version,
    model: `${name} ${version}`,
    precision: workload.precision,
    texts: `${workload.texts.length} ${workload.source}`,
    meanTokens: tenth(workload.meanTokens),
    effort,
  };
}

function commit(): string {
  try {
    const git = (...args: string[]) => execFileSync('git', args, { encoding: 'utf8', stdio: 'pipe' }).trim();
    return `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain', '-uno') === '' ? '' : '+'}`;
  } catch {
    return 'unknown';
  }
}

export function readJson<T>(file: string): T | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as T;
  } catch {
    return undefined;
  }
}

/** Lists of numbers stay on one line, so that a renewed file can be read as a difference. */
export function writeJson(file: string, value: unknown): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, jsonText(value));
}

export function jsonText(value: unknown): string {
  const text = JSON.stringify(value, null, 2);
  return `${text.replace(/\[[\s\d.,eE+-]*\]/g, (list) => list.replace(/\s+/g, ' '))}\n`;
}

/** New rows take the place of old ones with their name; the others stay. */
export function mergeRows(present: readonly Row[], added: readonly Row[], order: readonly string[]): Row[] {
  const rows = new Map([...present, ...added].map((row) => [row.name, row]));
  return [...rows.values()].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
}

const COLUMNS = ['what', 'target', 'measured', 'bare loop', 'met', "load generator's share"] as const;

function cellsOf(row: Row): readonly string[] {
  const met = row.pass === undefined ? '—' : row.pass ? 'yes' : 'no';
  const share = row.cpu === undefined ? '—' : `${(row.cpu.generator * 100).toFixed(1)} %`;
  return [row.what, row.target ?? '—', row.measured, row.bare ?? '—', met, share];
}

export function markdownTable({ conditions, rows }: TableReport): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [
    describeConditions(conditions),
    '',
    line(COLUMNS),
    line(COLUMNS.map(() => '---')),
    ...rows.map((row) => line(cellsOf(row))),
  ].join('\n');
}

export function describeConditions(c: Conditions): string {
  const rough =
    c.effort === 'full' ? '' : ` A **${c.effort}** run, which shows that the benchmark works and is no figure.`;
  return (
    `${c.model} (${c.precision}), ${c.texts} of ${c.meanTokens} tokens on average; ${c.usableCpus} cores of ${c.cpu}, ` +
    `${c.memoryGiB} GiB; Node ${c.node}, onnxruntime ${c.onnxruntime}; commit ${c.commit}, ${c.measuredAt.slice(0, 10)}.${rough}`
  );
}

/** For a terminal: a block a row, since the cells are long. */
export function textTable({ conditions, rows }: TableReport): string {
  const blocks = rows.map((row) => {
    const [what, target, measured, bare, met, share] = cellsOf(row);
    return [
      `${what}`,
      `  target    ${target}`,
      `  measured  ${measured}`,
      ...(row.bare === undefined ? [] : [`  bare loop ${bare}`]),
      `  met       ${met}${row.cpu === undefined ? '' : `      load generator ${share} of the processors, service ${(row.cpu.service * 100).toFixed(1)} %`}`,
    ].join('\n');
  });
  return [describeConditions(conditions), ...blocks].join('\n\n');
}
