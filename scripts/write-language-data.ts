/**
 * Writes `src/moderation/language-ngrams.json`: the n-grams of eld's smallest database, as JSON.
 *
 *     npm run language-data              write it; `-- --check` only compares
 *
 * eld has them as a JavaScript literal of a megabyte, which takes three times the memory and the time to compile. The
 * data is eld's (Nito T.M., Apache-2.0).
 */
import { keepGenerated } from './generated-file.ts';

const data = new URL('../ngrams/extrasmall.js', import.meta.resolve('eld/extrasmall'));
const { ngramsData } = (await import(data.href)) as { ngramsData: unknown };
const target = new URL('../src/moderation/language-ngrams.json', import.meta.url);
await keepGenerated(target, 'npm run language-data', () => `${JSON.stringify(ngramsData)}\n`);
