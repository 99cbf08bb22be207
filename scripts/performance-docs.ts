/** The tables of docs/performance.md, from what `npm run bench -- --save` kept. */
import { keptFile } from '../bench/command.ts';
import { curvesMarkdown } from '../bench/curves.ts';
import { profileMarkdown } from '../bench/profile.ts';
import { markdownTable, readJson } from '../bench/report.ts';
import { scaleMarkdown } from '../bench/scale.ts';
import { replaceMarked } from './generated-file.ts';

/** Part of the page -> file, and what is made of it. */
const PARTS = {
  'performance-table': ['table.json', markdownTable],
  'performance-curves': ['curves.json', curvesMarkdown],
  'performance-profile': ['profile.json', profileMarkdown],
  'performance-scale': ['scale.json', scaleMarkdown],
} as const;

/** @throws Error when nothing was kept for a part */
export function performancePage(present: string): string {
  return Object.entries(PARTS).reduce((page, [name, [file, write]]) => {
    const kept = readJson(keptFile(file));
    if (kept === undefined)
      throw new Error(`docs/performance/${file} is missing: make it with npm run bench -- --save`);
    return replaceMarked(page, name, write(kept as never));
  }, present);
}
