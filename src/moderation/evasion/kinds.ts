/** The disguises that are looked for, in the order in which they are undone. */
export const EVASION_KINDS = [
  'bidi',
  'invisible',
  'combining-marks',
  'confusables',
  'spaced-letters',
  'leetspeak',
  'repeated-letters',
] as const;

export type EvasionKind = (typeof EVASION_KINDS)[number];
