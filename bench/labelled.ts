/** Labelled posts, where copies of the data sets are at hand (DSLORA_DATA_DIR). Measured with, never printed. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';

export interface LabelledText {
  readonly text: string;
  readonly offensive: boolean;
}

/** Training keeps the ids of the rows that it cut from OLID's training file beside the adapter. */
const DEVELOPMENT = new URL('../training/adapters/olid-minilm/development.json', import.meta.url);

/** The 1,324 rows on which thresholds were chosen and no model was trained. @throws Error when a row is missing */
export function olidDevelopment(dataDir: string): LabelledText[] {
  const rows = new Map(
    lines(join(dataDir, 'olid', 'olid-training-v1.0.tsv')).map((line) => {
      const [id = '', text = '', label] = line.split('\t');
      return [id, { text: text.trim(), offensive: label === 'OFF' }];
    }),
  );
  const { ids } = JSON.parse(readFileSync(DEVELOPMENT, 'utf8')) as { ids: string[] };
  return ids.map((id) => {
    const row = rows.get(id);
    if (row === undefined) throw new Error(`OLID's training file has no row ${id}: expected the official file`);
    return row;
  });
}

/** The 860 rows of the official test. To be scored once, when everything is decided. */
export function olidTest(dataDir: string): LabelledText[] {
  const labels = new Map(
    lines(join(dataDir, 'olid', 'labels-levela.csv')).map((line) => line.split(',', 2) as [string, string]),
  );
  return lines(join(dataDir, 'olid', 'testset-levela.tsv'))
    .slice(1)
    .map((line) => {
      const [id = '', text = ''] = line.split('\t');
      return { text: text.trim(), offensive: labels.get(id) === 'OFF' };
    });
}

/** German tweets: GermEval 2018's training file. */
export function germEvalTexts(dataDir: string): string[] {
  return lines(join(dataDir, 'germeval2018', 'germeval2018.training.txt')).map(
    (line) => line.split('\t', 1)[0] as string,
  );
}

/** Comments of Wikipedia's talk pages: the test file of a Jigsaw subset. */
export function jigsawTexts(dataDir: string): string[] {
  const rows = parse(readFileSync(join(dataDir, 'jigsaw', 'test.csv')), { columns: true }) as {
    comment_text: string;
  }[];
  return rows.map(({ comment_text: text }) => text);
}

/** English posts from Twitter and Gab: HateXplain's validation split, or another. */
export function hateXplainTexts(dataDir: string, wanted: 'val' | 'test' = 'val'): string[] {
  return lines(join(dataDir, 'hatexplain', 'hatexplain.jsonl'))
    .map((line) => JSON.parse(line) as { split: string | null; text: string })
    .flatMap(({ split, text }) => (split === wanted ? [text] : []));
}

function lines(file: string): string[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => line.replace(/\r$/, ''))
    .filter((line) => line !== '');
}
