/**
 * Normalisation of text, step by step (docs/bundle.md, "Normalisation steps").
 *
 * Training has its own implementation of the same table; the golden vectors of each bundle prove the two equal.
 * Patterns name code points: `\w`, `\s` and the `i` flag mean different things in different languages. Each is
 * linear in the text: a run is only tried from where it begins.
 */
import type { NORMALIZATION_STEPS } from '../bundle/manifest.ts';

export type NormalizationStep = (typeof NORMALIZATION_STEPS)[number];

const WS = '\\u0009-\\u000D\\u0020\\u0085\\u00A0\\u1680\\u2000-\\u200A\\u2028\\u2029\\u202F\\u205F\\u3000';
const WORD = 'A-Za-z0-9_';
const APOSTROPHE = "['\\u2019\\u02BC\\u2018]";

const ENTITIES: Readonly<Record<string, string>> = {
  '&amp;': '&',
  '&lt;': '<',
  '&gt;': '>',
  '&quot;': '"',
  '&apos;': "'",
  '&#39;': "'",
  '&nbsp;': ' ',
};

const INVISIBLE =
  '\\u0000-\\u0008\\u000E-\\u001F\\u007F-\\u0084\\u0086-\\u009F\\u00AD\\u034F\\u061C\\u115F\\u1160\\u17B4\\u17B5' +
  '\\u180B-\\u180F\\u200B-\\u200F\\u202A-\\u202E\\u2060-\\u206F\\u3164\\uFE00-\\uFE0F\\uFEFF\\uFFA0\\uFFF0-\\uFFFB' +
  '\\u{1BCA0}-\\u{1BCA3}\\u{1D173}-\\u{1D17A}\\u{E0000}-\\u{E0FFF}';

const pattern = (source: string) => new RegExp(source, 'gu');

const entities = pattern(Object.keys(ENTITIES).join('|'));
const invisible = pattern(`[${INVISIBLE}]+`);
const urls = pattern(
  `<url>|(?<![${WORD}])(?:URL(?![${WORD}])|(?:[hH][tT][tT][pP][sS]?://|[wW][wW][wW]\\.)[^${WS}<>"]*)`,
);
const mentions = pattern(`<user>|(?<![${WORD}])@[${WORD}]+(?:@[A-Za-z0-9-]+(?:\\.[A-Za-z0-9-]+)+)?`);
const numbers = pattern(
  `<(?:number|percent|money|time|date|phone)>|(?<![${WORD}])[0-9]+(?:[.,:/-][0-9]+)*(?![${WORD}])`,
);
const innerApostrophes = pattern(`(?<=[A-Za-z])${APOSTROPHE}(?=[A-Za-z])`);
const spacedApostrophes = pattern(
  `(?<![${WS}])[${WS}]+${APOSTROPHE}[${WS}]+(?=(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])(?![${WORD}]))`,
);
const punctuation = pattern(`[!-/:-?\\[-\`{-~\\u2010-\\u2015\\u2018-\\u201F\\u2026\\u02BC]|@(?!user(?![${WORD}]))`);
const whitespace = pattern(`[${WS}]+`);

/** Every step by its name in the manifest. */
export const STEPS: Readonly<Record<NormalizationStep, (text: string) => string>> = {
  'html-entities': (text) => text.replace(entities, (entity) => ENTITIES[entity] as string),
  nfkc: (text) => text.normalize('NFKC'),
  invisible: (text) => text.replace(invisible, ''),
  urls: (text) => text.replace(urls, 'url'),
  mentions: (text) => text.replace(mentions, '@user'),
  numbers: (text) => text.replace(numbers, 'number'),
  lowercase: (text) => text.toLowerCase(),
  apostrophes: (text) => text.replace(innerApostrophes, '').replace(spacedApostrophes, ''),
  punctuation: (text) => text.replace(punctuation, ' '),
  whitespace: (text) => text.replace(whitespace, ' ').replace(/^ | $/g, ''),
};

/** A text that normalisation refuses, by the code of docs/bundle.md. */
export type RefusedText = 'invalid_unicode' | 'empty_after_normalization';

/**
 * Applies the steps in order.
 *
 * @returns the normalised text, never empty, or why there is none
 */
export function normalize(
  text: string,
  steps: readonly NormalizationStep[],
): { readonly text: string } | { readonly error: RefusedText } {
  if (!text.isWellFormed()) return { error: 'invalid_unicode' };
  const normalized = steps.reduce((current, step) => STEPS[step](current), text);
  return normalized === '' ? { error: 'empty_after_normalization' } : { text: normalized };
}
