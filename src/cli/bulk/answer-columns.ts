/** The columns that an output has on top of the input's. */
import type { Answer } from './classifier.ts';
import { refuse } from './failure.ts';

export type Cell = string | number | boolean | null;
export type Cells = readonly Cell[];
export const GATE_VIEWS = ['layers', 'mean', 'none'] as const;
export type GateView = (typeof GATE_VIEWS)[number];

export interface AnswerColumn {
  readonly name: string;
  readonly type: 'string' | 'number' | 'boolean';
  read(answer: Answer): Cell;
}

/** What must be known of a model before its first answer. */
export interface ModelColumns {
  readonly labels: readonly string[];
  /** Each column of the graph's gates. */
  readonly gates: readonly { readonly layer: number; readonly module: string }[];
}

export interface ColumnOptions {
  readonly gates: GateView;
  /** Without one there is no decision. */
  readonly policy: string | undefined;
  /** Put before every name. */
  readonly prefix: string;
}

export function answerColumns(
  { labels, gates }: ModelColumns,
  { gates: view, policy, prefix }: ColumnOptions,
): AnswerColumn[] {
  const columns: AnswerColumn[] = [
    { name: 'label', type: 'string', read: ({ label }) => label },
    { name: 'score', type: 'number', read: ({ score }) => score },
    { name: 'offensive', type: 'number', read: ({ offensive }) => offensive },
    { name: 'flagged', type: 'boolean', read: ({ flagged }) => flagged },
    ...(policy === undefined ? [] : [DECISION]),
    ...labels.map((label): AnswerColumn => {
      return {
        name: `probability_${label}`,
        type: 'number',
        read: ({ probabilities }) => probabilities[label] as number,
      };
    }),
  ];
  if (gates.length > 0 && view !== 'none') {
    columns.push({ name: 'gate_mean', type: 'number', read: (answer) => answer.gates?.mean ?? null });
  }
  if (view === 'layers') columns.push(...gates.map(gateColumn));
  return columns.map((column) => ({ ...column, name: `${prefix}${column.name}` }));
}

const DECISION: AnswerColumn = { name: 'decision', type: 'string', read: ({ decision }) => decision ?? null };

function gateColumn({ layer, module }: ModelColumns['gates'][number]): AnswerColumn {
  return {
    name: `gate_${layer}_${module}`,
    type: 'number',
    read: ({ gates }) => gates?.layers?.find((entry) => entry.layer === layer)?.[module] ?? null,
  };
}

/** An old value under the name of an answer would be taken for one. */
export function refuseReserved(columns: readonly string[], answers: readonly AnswerColumn[]): void {
  const taken = answers.map(({ name }) => name).filter((name) => columns.includes(name));
  if (taken.length === 0) return;
  refuse(
    `The input already has ${taken.length === 1 ? 'a column' : 'columns'} named ${taken.join(', ')}. ` +
      'Give the new ones other names with --prefix, for example --prefix dslora_.',
  );
}
