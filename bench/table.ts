/** The table: each measurement against its target, and against the bare loop where that is the limit. */
import { type Command, keptFile } from './command.ts';
import type { Row } from './measurement.ts';
import { MEASUREMENTS } from './measurements.ts';
import { mergeRows, readJson, type TableReport, textTable, writeJson } from './report.ts';

const NAMES = MEASUREMENTS.map(({ name }) => name);

export const table: Command = async ({ bench, conditions, only, save, say }) => {
  const unknown = (only ?? []).filter((name) => !NAMES.includes(name));
  if (unknown.length > 0) throw new Error(`No such rows: ${unknown.join(', ')}. There are: ${NAMES.join(', ')}`);
  const file = keptFile('table.json');
  const rows: Row[] = [];
  for (const { run, ...named } of MEASUREMENTS) {
    if (only !== undefined && !only.includes(named.name)) continue;
    say(`measuring ${named.name} …`);
    rows.push({ ...named, ...(await run(bench)) });
    // After each row, so that what was measured is kept when a later one fails.
    if (save) {
      const kept = only === undefined && rows.length === 1 ? [] : (readJson<TableReport>(file)?.rows ?? []);
      writeJson(file, { conditions, rows: mergeRows(kept, rows, NAMES) } satisfies TableReport);
    }
  }
  const report: TableReport = { conditions, rows };
  return { text: textTable(report), json: report };
};
