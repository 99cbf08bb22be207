/** One text and all that is known of it. */
import { announce } from './announce.js';
import { asker } from './ask.js';
import { chosenOptions, modelField, policyField, remember, tieModel } from './choices.js';
import { h } from './dom.js';
import { classifyExplained, EVERYTHING } from './explained.js';
import { probability } from './format.js';
import { resultCard } from './result.js';
import { snippets } from './snippets.js';
import { textField, textOf } from './text-field.js';

const SENTENCE = 'The new library opened on Monday, and the reading room is bright and quiet. ';
const EXAMPLES = [
  { name: 'Friendly', text: 'Have a lovely day, everyone. The talk was a pleasure to listen to.' },
  { name: 'Rude', text: 'You are all complete idiots, and this is the worst team I have ever seen.' },
  { name: 'Emoji', text: '@sam what a goal 😂😂👏🏽 see https://example.org/match?id=7 #cup' },
  {
    name: 'Long',
    text: `${SENTENCE.repeat(14)}Whoever says otherwise is a stupid liar. ${SENTENCE.repeat(14)}`.trim(),
  },
];

/**
 * @param {object} options
 * @param {HTMLElement} options.input
 * @param {HTMLElement} options.result
 * @param {import('./choices.js').Offer} options.offer
 * @param {URLSearchParams} options.state
 */
export function textView({ input, result, offer, state }) {
  const ask = asker(result);
  const field = textField({ label: 'Text', send: () => void send() });
  const model = modelField(offer, state.get('model'));
  const policy = policyField(offer, state.get('policy'));
  tieModel(offer, model, policy);
  const form = h(
    'form',
    {
      class: 'card',
      onsubmit: (/** @type {SubmitEvent} */ event) => {
        event.preventDefault();
        void send();
      },
    },
    field.element,
    h(
      'div',
      { class: 'examples', role: 'group', 'aria-label': 'Examples' },
      h('span', { class: 'quiet' }, 'Try'),
      EXAMPLES.map(({ name, text }) =>
        h(
          'button',
          {
            type: 'button',
            class: 'chip',
            onclick: () => {
              field.set(text);
              void send();
            },
          },
          name,
        ),
      ),
    ),
    h('div', { class: 'fields' }, model.element, policy.element),
    h('div', { class: 'actions' }, h('button', { type: 'submit', class: 'primary' }, 'Classify')),
  );
  for (const choice of [model, policy]) {
    choice.input.addEventListener('change', () => {
      remember('text', { model: model.input.value, policy: policy.input.value });
      if (field.input.value !== '') void send();
    });
  }
  input.replaceChildren(form);
  result.replaceChildren(h('div', { class: 'card empty' }, h('p', {}, 'The answer appears here.')));

  function send() {
    return ask(async (signal) => {
      const text = textOf(field);
      const body = { text, ...chosenOptions(offer, model.input.value, policy.input.value), ...EVERYTHING };
      const answer = await classifyExplained(body, signal);
      const [found] = answer.results;
      if (found === undefined || found.error !== undefined) throw new Error('An answer without a result');
      announce(`${found.decision}. Offensive ${probability(found.offensive)}.`);
      return [resultCard({ text, answer, result: found, models: offer.models }), snippets({ ...body, explain: true })];
    });
  }
}
