/** How deep a JSON text nests, without parsing it: parsers and validators call themselves for each level. */

/** Levels. Manifests and tokenizers have about ten. */
export const DEEPEST_JSON = 64;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** @returns whether it nests deeper than `DEEPEST_JSON`; of what is no JSON, whatever its brackets say */
export function nestsTooDeep(content: Buffer): boolean {
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < content.length; i++) {
    const byte = content[i] as number;
    if (quoted) {
      if (byte === BACKSLASH) i += 1;
      else if (byte === QUOTE) quoted = false;
    } else if (byte === QUOTE) quoted = true;
    // [ and {, ] and }: they differ in one bit.
    else if ((byte & 0xdf) === 0x5b) {
      depth += 1;
      if (depth > DEEPEST_JSON) return true;
    } else if ((byte & 0xdf) === 0x5d) depth -= 1;
  }
  return false;
}
