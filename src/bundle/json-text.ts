/** Bytes -> JSON value. */
import { DEEPEST_JSON, nestsTooDeep } from './json-depth.ts';
import { BundleError } from './problem.ts';

/** @throws BundleError for what is no JSON in UTF-8, or nests too deep; it quotes nothing */
export function parseJson(file: string, bytes: Buffer): unknown {
  if (nestsTooDeep(bytes)) throw new BundleError([`${file} nests deeper than ${DEEPEST_JSON} levels`]);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new BundleError([`${file} is not UTF-8`]);
  }
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own message quotes the file, and golden.json holds texts.
    throw new BundleError([`${file} is not JSON`]);
  }
}
