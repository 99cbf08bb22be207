/** A share as a bar, with its number; read out as "name: number". */

import { h } from './dom.js';
import { probability } from './format.js';

/**
 * @param {object} options
 * @param {string} options.name
 * @param {number} options.value 0 to 1
 * @param {string} [options.note] behind the name
 * @param {boolean} [options.warm] whether much of it is what moderators look for
 * @param {number | undefined} [options.mark] a threshold, drawn as a tick
 */
export function meter({ name, value, note, warm = false, mark }) {
  return h(
    'div',
    { class: `meter${warm ? ' warm' : ''}` },
    h('span', { class: 'meter-name' }, name, note !== undefined && h('span', { class: 'note' }, ` ${note}`)),
    h('span', { class: 'meter-value' }, probability(value)),
    h(
      'span',
      { class: 'track', 'aria-hidden': 'true' },
      h('span', { class: 'filled', style: { width: `${value * 100}%` } }),
      mark !== undefined && h('span', { class: 'tick', style: { left: `${mark * 100}%` } }),
    ),
  );
}
