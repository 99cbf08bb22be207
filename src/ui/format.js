/** Numbers as people read them. */

/** @param {number} value a probability */
export function probability(value) {
  return value.toFixed(3);
}

/** @param {number} value a difference of probabilities; the sign is always written */
export function difference(value) {
  const shown = Math.abs(value).toFixed(3);
  if (shown === '0.000') return '±0.000';
  return `${value < 0 ? '−' : '+'}${shown}`;
}

/** @param {number} value 0 to 100 */
export function percentile(value) {
  return String(Math.round(value));
}

/** @param {number} value milliseconds */
export function milliseconds(value) {
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}

const COUNT = new Intl.NumberFormat('en');

/** @param {number} value */
export function count(value) {
  return COUNT.format(value);
}

/** @param {number} number @param {string} noun whose plural ends in s */
export function counted(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? '' : 's'}`;
}
