/**
 * How often the language detector is wrong about posts, and what it costs.
 *
 *     DSLORA_DATA_DIR=DATA node bench/languages.ts
 *
 * Prints JSON: of English sets the share that is taken for another language (false alarms for a bundle that lists `en`),
 * of German tweets the share that is noticed, and the share on which the detector stays silent. Disguises are undone first,
 * as in the service; `anotherAsSent` is the share that would be taken for another language if they were not.
 */
import { findDisguises } from '../src/moderation/evasion/fold.ts';
import { detectLanguage } from '../src/moderation/language.ts';
import { ATTACKS, attack } from './evasion-attacks.ts';
import { germEvalTexts, hateXplainTexts, olidDevelopment } from './labelled.ts';

const dataDir = process.env.DSLORA_DATA_DIR;
if (dataDir === undefined)
  throw new Error('DSLORA_DATA_DIR must name the folder with olid, hatexplain and germeval2018');

const olid = olidDevelopment(dataDir).map(({ text }) => text);
const [zeroWidth] = ATTACKS;
if (zeroWidth?.name !== 'zero-width') throw new Error('The first attack is another one');
const first = () => 0;

const SETS = [
  { name: 'OLID development', language: 'en', texts: olid },
  {
    name: 'OLID development, zero-width characters in every word',
    language: 'en',
    texts: olid.map((text) => attack(text, zeroWidth, 1, first)),
  },
  { name: 'HateXplain validation', language: 'en', texts: hateXplainTexts(dataDir) },
  { name: 'GermEval 2018 training', language: 'de', texts: germEvalTexts(dataDir) },
];

const share = (part: number, whole: number) => Math.round((part / whole) * 1e5) / 1e5;

const results = SETS.map(({ name, language, texts }) => {
  const begun = performance.now();
  const found = texts.map((text) => detectLanguage(findDisguises(text).folded));
  const microseconds = ((performance.now() - begun) * 1000) / texts.length;
  const right = found.filter((one) => one === language).length;
  const silent = found.filter((one) => one === undefined).length;
  const asSent = texts.map(detectLanguage).filter((one) => one !== undefined && one !== language).length;
  return {
    set: name,
    n: texts.length,
    right: share(right, texts.length),
    another: share(texts.length - right - silent, texts.length),
    anotherAsSent: share(asSent, texts.length),
    silent: share(silent, texts.length),
    microsecondsPerText: Math.round(microseconds),
  };
});
console.log(JSON.stringify(results, null, 2));
