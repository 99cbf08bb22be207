/** Text that is stored backwards and shown forwards, and other invisible changes of direction. */
import type { Fold } from './fold.ts';

const CONTROL = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
const CONTROLS = new RegExp(`${CONTROL.source}+`, 'g');
const RIGHT_TO_LEFT = /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;
/** RIGHT-TO-LEFT OVERRIDE, what it turns around, and POP DIRECTIONAL FORMATTING or the end of the paragraph. */
const OVERRIDE = /\u202e([^\u202a-\u202e\u2029\n\r]*)\u202c?/g;

/** Where a text has right-to-left letters, controls are how it is written; an override of others never is. */
export const bidi: Fold = (text, found) => {
  if (!CONTROL.test(text)) return text;
  const forwards = text.replace(OVERRIDE, (_, inner: string) => {
    found();
    return [...inner].reverse().join('');
  });
  if (RIGHT_TO_LEFT.test(forwards)) return forwards;
  return forwards.replace(CONTROLS, () => {
    found();
    return '';
  });
};
