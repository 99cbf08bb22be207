/** What is to be done with a text, and why, in words and with a shape of its own. */
import { h, svg } from './dom.js';
import { probability } from './format.js';

const SHAPES = {
  allow:
    'M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13Zm3.4 4.6-4 4.6a.8.8 0 0 1-1.15.05L4.3 8.9l1.1-1.16 1.35 1.28 3.45-3.96Z',
  review: 'M8 1.2 15.2 14H.8Zm-.8 4.6v4h1.6v-4Zm0 5.1v1.6h1.6v-1.6Z',
  block: 'M5 1.2h6L14.8 5v6L11 14.8H5L1.2 11V5Zm-.6 5.9v1.8h7.2V7.1Z',
};
const WORDS = { allow: 'Allow', review: 'Review', block: 'Block' };

/** @param {'allow' | 'review' | 'block'} decision */
export function badge(decision) {
  return h(
    'span',
    { class: `badge ${decision}` },
    svg(
      'svg',
      { viewBox: '0 0 16 16', 'aria-hidden': 'true' },
      svg('path', { d: SHAPES[decision], 'fill-rule': 'evenodd' }),
    ),
    WORDS[decision],
  );
}

/** @type {Record<string, (reason: import('./service.js').Reason) => string>} */
const REASONS = {
  block_threshold: (reason) => `${numbers(reason)}, from which the policy blocks`,
  review_threshold: (reason) => `${numbers(reason)}, from which the policy asks for review`,
  high_gates: (reason) => `mean gate ${numbers(reason)}: the base model alone could hardly tell`,
  evasion: ({ kinds = [] }) => `disguised writing: ${kinds.join(', ')}`,
  unlisted_language: () => 'the language is not one that the model was made for',
};

/** @param {import('./service.js').Reason} reason */
export function reasonText(reason) {
  const text = REASONS[reason.code]?.(reason) ?? reason.code;
  return reason.model === undefined ? text : `${reason.model}: ${text}`;
}

/** @param {import('./service.js').Reason} reason */
function numbers({ code, label = code === 'high_gates' ? '' : 'offensive', value, threshold, folded }) {
  const shown = value === undefined ? '' : ` ${probability(value)}`;
  const limit = threshold === undefined ? '' : ` ≥ ${probability(threshold)}`;
  return `${label}${shown}${limit}${folded ? ' with disguises undone' : ''}`.trim();
}
