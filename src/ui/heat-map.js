/** Gates as a heat map that is a table: the colour repeats what each cell says. */
import { h } from './dom.js';
import { percentile, probability } from './format.js';

/**
 * @param {import('./service.js').Gates} gates
 * @param {string} [of] the model, where another's stand on the same page
 */
export function heatMap({ mean, layers, percentiles }, of) {
  const modules = [...new Set(layers.flatMap((layer) => Object.keys(layer).filter((key) => key !== 'layer')))].sort();
  /** @param {number} layer @param {string} module */
  const rankOf = (layer, module) => percentiles?.layers.find((one) => one.layer === layer)?.[module];
  const rows = modules.map((module) =>
    h(
      'tr',
      {},
      h('th', { scope: 'row' }, module),
      layers.map((layer) => cell(layer[module], rankOf(layer.layer, module))),
    ),
  );
  return h(
    'div',
    { class: 'gates' },
    h(
      'p',
      { class: 'fact' },
      'Mean gate ',
      h('strong', {}, probability(mean)),
      percentiles?.mean !== undefined && [
        ', higher than in ',
        h('strong', {}, `${percentile(percentiles.mean)} %`),
        ' of the development texts',
      ],
      '.',
    ),
    h(
      'div',
      {
        class: 'scroll',
        role: 'region',
        tabindex: '0',
        'aria-label': `Gates by layer and module${of === undefined ? '' : ` of ${of}`}`,
      },
      h(
        'table',
        { class: 'heat' },
        h('caption', { class: 'quiet' }, 'Percentile of each gate on the development split, and its value'),
        h(
          'thead',
          {},
          h(
            'tr',
            {},
            h('th', { scope: 'col' }, 'Layer'),
            layers.map(({ layer }) => h('th', { scope: 'col' }, layer)),
          ),
        ),
        h('tbody', {}, rows),
      ),
    ),
    h(
      'p',
      { class: 'scale' },
      h('span', {}, 'lower'),
      h('span', { class: 'ramp', 'aria-hidden': 'true' }),
      h('span', {}, 'higher than usual for this model'),
    ),
  );
}

/**
 * @param {number | undefined} gate
 * @param {number | undefined} rank
 */
function cell(gate, rank) {
  if (gate === undefined)
    return h(
      'td',
      { class: 'none' },
      h('span', { class: 'unseen' }, 'not adapted'),
      h('span', { 'aria-hidden': 'true' }, '–'),
    );
  const far = rank === undefined ? 0 : Math.abs(rank - 50) / 50;
  return h(
    'td',
    { class: rank !== undefined && rank < 50 ? 'low' : 'high', style: { '--far': far.toFixed(3) } },
    rank !== undefined && h('span', { class: 'rank' }, percentile(rank)),
    h('span', { class: 'gate' }, gate.toFixed(2)),
  );
}
