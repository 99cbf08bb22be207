/** The file of rows without an answer: JSON Lines with the row's number and the reason, and nothing that a row says. */
import type { BadRow } from './output.ts';
import { ROW_PROBLEMS } from './table.ts';

export function badLines(rows: readonly BadRow[]): Buffer {
  const lines = rows.map(({ row, problem }) => {
    return `${JSON.stringify({ row, reason: problem, detail: ROW_PROBLEMS[problem] })}\n`;
  });
  return Buffer.from(lines.join(''));
}
