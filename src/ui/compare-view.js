/** Two texts under one model, or one text under two models. */
import { announce } from './announce.js';
import { asker } from './ask.js';
import { chosenOptions, modelField, policyField, remember, tieModel } from './choices.js';
import { h, uniqueId } from './dom.js';
import { classifyExplained, EVERYTHING } from './explained.js';
import { difference, probability } from './format.js';
import { resultCard } from './result.js';
import { snippets } from './snippets.js';
import { textField, textOf } from './text-field.js';

/**
 * @typedef {{ readonly title: string, readonly text: string, readonly answer: import('./service.js').Answer,
 *   readonly result: import('./service.js').Result }} Side
 */

/**
 * @param {object} options
 * @param {HTMLElement} options.input
 * @param {HTMLElement} options.result
 * @param {import('./choices.js').Offer} options.offer
 * @param {URLSearchParams} options.state
 */
export function compareView({ input, result, offer, state }) {
  const ask = asker(result);
  const send = () => void compare();
  const first = textField({ label: 'First text', rows: 4, send });
  const second = textField({ label: 'Second text', rows: 4, send });
  const only = textField({ label: 'Text', rows: 4, send });
  const model = modelField(offer, state.get('model'));
  const policy = policyField(offer, state.get('policy'));
  tieModel(offer, model, policy);
  const others = offer.models.find(({ name }) => name !== model.input.value)?.name ?? null;
  const firstModel = modelField(offer, state.get('model'), 'First model');
  const secondModel = modelField(offer, state.get('other') ?? others, 'Second model');

  const texts = h(
    'div',
    {},
    h('div', { class: 'pair' }, first.element, second.element),
    h('div', { class: 'fields' }, model.element, policy.element),
  );
  const models = h('div', {}, only.element, h('div', { class: 'fields' }, firstModel.element, secondModel.element));
  const group = uniqueId('mode');
  /** @param {string} value @param {string} label */
  const mode = (value, label) => {
    const radio = h('input', {
      type: 'radio',
      name: group,
      value,
      checked: (state.get('by') === 'models') === (value === 'models'),
      onchange: show,
    });
    return { radio, element: h('label', { class: 'option' }, radio, h('span', {}, label)) };
  };
  const byTexts = mode('texts', 'Two texts');
  const byModels = mode('models', 'Two models');
  const form = h(
    'form',
    {
      class: 'card',
      onsubmit: (/** @type {SubmitEvent} */ event) => {
        event.preventDefault();
        send();
      },
    },
    h('fieldset', { class: 'segmented' }, h('legend', {}, 'Compare'), byTexts.element, byModels.element),
    texts,
    models,
    h('div', { class: 'actions' }, h('button', { type: 'submit', class: 'primary' }, 'Compare')),
  );
  for (const { input: choice } of [model, firstModel, secondModel, policy]) choice.addEventListener('change', keep);
  input.replaceChildren(form);
  arrange();

  function arrange() {
    texts.hidden = byModels.radio.checked;
    models.hidden = !byModels.radio.checked;
  }

  function show() {
    arrange();
    keep();
    result.replaceChildren();
  }

  function keep() {
    const values = byModels.radio.checked
      ? { by: 'models', model: firstModel.input.value, other: secondModel.input.value }
      : { by: 'texts', model: model.input.value, policy: policy.input.value };
    remember('compare', values);
  }

  function compare() {
    return ask(async (signal) => {
      const [sides, request] = byModels.radio.checked ? await twoModels(signal) : await twoTexts(signal);
      const [one, other] = sides;
      const change = other.result.offensive - one.result.offensive;
      announce(`Offensive ${probability(one.result.offensive)} and ${probability(other.result.offensive)}.`);
      return [
        h(
          'p',
          { class: 'change' },
          'offensive ',
          h('strong', {}, `${probability(one.result.offensive)} → ${probability(other.result.offensive)}`),
          ` ${difference(change)} from ${one.title.toLowerCase()} to ${other.title.toLowerCase()}`,
        ),
        h(
          'div',
          { class: 'pair' },
          sides.map(({ title, text, answer, result: found }) =>
            resultCard({ title, text, answer, result: found, models: offer.models }),
          ),
        ),
        snippets(request),
      ];
    });
  }

  /** @param {AbortSignal} signal @returns {Promise<readonly [readonly [Side, Side], import('./service.js').Body]>} */
  async function twoTexts(signal) {
    const both = [textOf(first), textOf(second)];
    const body = { texts: both, ...chosenOptions(offer, model.input.value, policy.input.value), ...EVERYTHING };
    const answer = await classifyExplained(body, signal);
    const [one, other] = both.map((text, i) => side(i === 0 ? 'First text' : 'Second text', text, answer, i));
    return [[/** @type {Side} */ (one), /** @type {Side} */ (other)], { ...body, explain: true }];
  }

  /** @param {AbortSignal} signal @returns {Promise<readonly [readonly [Side, Side], import('./service.js').Body]>} */
  async function twoModels(signal) {
    const text = textOf(only);
    const names = [firstModel.input.value, secondModel.input.value];
    const answers = await Promise.all(
      names.map((name) => classifyExplained({ text, model: name, ...EVERYTHING }, signal)),
    );
    const [one, other] = answers.map((answer) => side(answer.model.name, text, answer, 0));
    return [
      [/** @type {Side} */ (one), /** @type {Side} */ (other)],
      { text, model: names[0], ...EVERYTHING, explain: true },
    ];
  }
}

/**
 * @param {string} title
 * @param {string} text
 * @param {import('./service.js').Answer} answer
 * @param {number} index
 * @returns {Side}
 */
function side(title, text, answer, index) {
  const found = answer.results[index];
  if (found === undefined || found.error !== undefined) throw new Error('An answer without a result');
  return { title, text, answer, result: found };
}
