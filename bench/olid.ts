/** The tweets of OLID's official test file, where a copy of the data is at hand. Measured with, never printed. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * @param dataDir folder that holds `olid/testset-levela.tsv`: a header, then id, tab, tweet
 * @throws Error when the file cannot be read or holds no tweet
 */
export function olidTestTexts(dataDir: string): string[] {
  const file = join(dataDir, 'olid', 'testset-levela.tsv');
  const [, ...rows] = readFileSync(file, 'utf8').split('\n');
  const texts = rows.map((row) => row.split('\t')[1]?.trim() ?? '').filter((text) => text !== '');
  if (texts.length === 0) throw new Error(`${file} holds no tweets: expected a header, then id, tab and tweet`);
  return texts;
}
