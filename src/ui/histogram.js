/** How `offensive` is distributed over many texts: bars to look at, a table to read. */
import { h } from './dom.js';
import { count, probability } from './format.js';

const BINS = 20;

/**
 * @param {readonly number[]} values 0 to 1
 * @param {number} threshold
 */
export function histogram(values, threshold) {
  const counts = new Array(BINS).fill(0);
  for (const value of values) counts[Math.min(BINS - 1, Math.floor(value * BINS))] += 1;
  const highest = Math.max(1, ...counts);
  const above = values.filter((value) => value >= threshold).length;
  /** @param {number} bin */
  const range = (bin) => `${(bin / BINS).toFixed(2)}–${((bin + 1) / BINS).toFixed(2)}`;
  return h(
    'figure',
    { class: 'histogram' },
    h(
      'figcaption',
      {},
      `${count(above)} of ${count(values.length)} at or above the threshold of ${probability(threshold)} (the line)`,
    ),
    h(
      'div',
      { class: 'plot', 'aria-hidden': 'true' },
      counts.map((number, bin) =>
        h('span', {
          class: (bin + 0.5) / BINS >= threshold ? 'bin warm' : 'bin',
          style: { height: `${(number / highest) * 100}%` },
          title: `${range(bin)}: ${number}`,
        }),
      ),
      h('span', { class: 'line', style: { left: `${threshold * 100}%` } }),
    ),
    h(
      'div',
      { class: 'axis', 'aria-hidden': 'true' },
      ['0', '0.5', '1'].map((label) => h('span', {}, label)),
    ),
    h(
      'details',
      {},
      h('summary', {}, 'As a table'),
      h(
        'table',
        { class: 'numbers' },
        h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'offensive'), h('th', { scope: 'col' }, 'rows'))),
        h(
          'tbody',
          {},
          counts.map((number, bin) => h('tr', {}, h('th', { scope: 'row' }, range(bin)), h('td', {}, count(number)))),
        ),
      ),
    ),
  );
}
