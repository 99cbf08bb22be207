/** The text with the words that drove its score, and the same as a list. */
import { h } from './dom.js';
import { count, counted, difference } from './format.js';

/** Contributions below this are noise of rounding and quantisation. */
const LEAST = 0.02;
/** Of the strongest contribution, what a word must have to be highlighted: a long text has many faint ones. */
const LEAST_SHARE = 0.15;
/** From this contribution on a highlight is as strong as it gets. */
const FULL = 0.4;
const LISTED = 6;
/** UTF-16 code units shown on either side of an explained passage. */
const AROUND = 160;

/**
 * @param {string} text
 * @param {import('./service.js').Explanation} explanation
 * @param {boolean} folded whether the answer is that of the text with disguises undone
 */
export function words(text, explanation, folded) {
  const { passage, spans } = explanation;
  const strongest = Math.max(...spans.map(({ contribution }) => Math.abs(contribution)));
  const least = Math.max(LEAST, strongest * LEAST_SHARE);
  /** @type {(Node | string)[]} */
  const pieces = [];
  let from = passage.begin;
  for (const span of spans) {
    pieces.push(text.slice(from, span.begin), mark(text, span, least));
    from = span.end;
  }
  pieces.push(text.slice(from, passage.end));
  const before = text.slice(0, passage.begin);
  const after = text.slice(passage.end);
  return h(
    'div',
    { class: 'words' },
    h(
      'p',
      {
        class: 'marked',
        dir: 'auto',
        tabindex: '0',
        role: 'group',
        'aria-label': 'The text, with the words that count',
      },
      before !== '' &&
        h('span', { class: 'outside' }, before.length > AROUND && '… ', before.slice(-AROUND).toWellFormed()),
      pieces,
      after !== '' &&
        h('span', { class: 'outside' }, after.slice(0, AROUND).toWellFormed(), after.length > AROUND && ' …'),
    ),
    (before !== '' || after !== '') &&
      h(
        'p',
        { class: 'quiet' },
        `The text takes several windows; the passage that scored highest (${explanation.offensive.toFixed(3)}) is explained.`,
      ),
    folded &&
      h(
        'p',
        { class: 'quiet' },
        `Explained as it was sent (${explanation.offensive.toFixed(3)}), while the decision is on the text with disguises undone.`,
      ),
    list(text, spans),
    h(
      'p',
      { class: 'quiet' },
      `How much lower “offensive” is without the word. Measured on ${counted(explanation.variants, 'variant')} of the text (${counted(explanation.tokens, 'token')})`,
      spans.length < explanation.words &&
        `, ${count(explanation.words)} words taken together to ${count(spans.length)}`,
      '.',
    ),
  );
}

/**
 * @param {string} text
 * @param {import('./service.js').Span} span
 * @param {number} least contribution that is highlighted
 */
function mark(text, span, least) {
  const word = text.slice(span.begin, span.end);
  if (Math.abs(span.contribution) < least) return word;
  const strength = Math.min(1, Math.abs(span.contribution) / FULL);
  return h(
    'mark',
    {
      class: span.contribution > 0 ? 'raises' : 'lowers',
      style: { '--strength': strength.toFixed(3) },
      title: difference(span.contribution),
    },
    word,
  );
}

/**
 * @param {string} text
 * @param {readonly import('./service.js').Span[]} spans
 */
function list(text, spans) {
  const ranked = spans
    .filter(({ contribution }) => Math.abs(contribution) >= LEAST)
    .sort((one, other) => Math.abs(other.contribution) - Math.abs(one.contribution));
  if (ranked.length === 0) return h('p', { class: 'fact' }, 'No single word changes the score by 0.02 or more.');
  return h(
    'ol',
    { class: 'ranked', 'aria-label': 'Words that changed the score most' },
    ranked
      .slice(0, LISTED)
      .map(({ begin, end, contribution }) =>
        h(
          'li',
          {},
          h('bdi', { class: 'word' }, text.slice(begin, end)),
          h('span', { class: contribution > 0 ? 'sign raises' : 'sign lowers' }, difference(contribution)),
          h('span', { class: 'effect' }, contribution > 0 ? 'more offensive' : 'less offensive'),
        ),
      ),
  );
}
