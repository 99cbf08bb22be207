/**
 * Brings a body to the one form that the schemas describe. The JSON form of protocol buffers has more: fields may also be
 * written in snake case, and null stands for an unset field.
 */

/** Messages nest no deeper. What does is left as it is, and refused by the schema. */
const DEEPEST = 8;

/** Names of fields begin in lower case; names of attributes, which are data, in upper case. */
const FIELD = /^[a-z]/;
const SNAKE = /^[a-z]+(?:_[a-z]+)+$/;

export function fromProtoJson(value: unknown, depth = 0): unknown {
  if (typeof value !== 'object' || value === null || depth > DEEPEST) return value;
  if (Array.isArray(value)) return value.map((item) => fromProtoJson(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name, inner]) => !(inner === null && FIELD.test(name)))
      .map(([name, inner]) => [camelCase(name), fromProtoJson(inner, depth + 1)]),
  );
}

function camelCase(name: string): string {
  return SNAKE.test(name) ? name.replace(/_([a-z])/g, (_match, letter: string) => letter.toUpperCase()) : name;
}
