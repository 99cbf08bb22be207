/** Which languages a comment is scored as, and whether the model was made for them. */
import type { Manifest } from '../../../bundle/manifest.ts';
import { findDisguises } from '../../../moderation/evasion/fold.ts';
import type { DetectLanguage } from '../../../moderation/language.ts';
import { perspectiveError } from './google-error.ts';

export interface Language {
  /** As the client sent them; undefined when it sent none. */
  readonly requested?: readonly string[];
  /** What the text looks like, when the detector is sure. */
  readonly detected?: readonly string[];
  /** What is scored: the requested ones, else the detected one, else the model's first. */
  readonly used: readonly [string, ...string[]];
  /** Whether the model lists all of them. */
  readonly supported: boolean;
}

/** Language, script, region. Short, so that no text fits in and is repeated in an error. */
const TAG = /^[A-Za-z]{2,3}(?:-[A-Za-z]{4})?(?:-(?:[A-Za-z]{2}|\d{3}))?$/;

/** @throws GoogleError for what is no code of a language */
export function languageOf(
  text: string,
  languages: readonly string[] | undefined,
  manifest: Manifest,
  detect: DetectLanguage | undefined,
): Language {
  if (languages?.some((tag) => !TAG.test(tag))) {
    throw perspectiveError('INVALID_REQUEST', 'languages must be ISO 639-1 or BCP 47 codes');
  }
  const found = detect?.(findDisguises(text).folded);
  const [first = found ?? (manifest.languages[0] as string), ...others] = languages ?? [];
  const used = [first, ...others] as const;
  const known = manifest.languages.map(primary);
  return {
    ...(languages === undefined || languages.length === 0 ? {} : { requested: languages }),
    ...(found === undefined ? {} : { detected: [found] }),
    used,
    supported: used.every((tag) => known.includes(primary(tag))),
  };
}

/** en-US -> en */
function primary(tag: string): string {
  return tag.toLowerCase().split('-', 1)[0] as string;
}
