/** Model and policy, as a person picks them; kept in the address, unlike any text. */
import { h, uniqueId } from './dom.js';

/**
 * @typedef {{ readonly models: readonly import('./service.js').Model[], readonly policies: readonly import('./service.js').Policy[] }} Offer
 * @typedef {{ readonly element: HTMLElement, readonly input: HTMLSelectElement }} Field
 */

/**
 * @param {string} label
 * @param {readonly { readonly value: string, readonly text: string }[]} options
 * @param {string | null} chosen
 * @returns {Field}
 */
export function select(label, options, chosen) {
  const id = uniqueId('choice');
  const input = h(
    'select',
    { id },
    options.map(({ value, text }) => h('option', { value, selected: value === chosen }, text)),
  );
  return { input, element: h('div', { class: 'field' }, h('label', { for: id }, label), input) };
}

/**
 * @param {Offer} offer
 * @param {string | null} chosen
 * @param {string} [label]
 */
export function modelField({ models }, chosen, label = 'Model') {
  const standard = models.find((model) => model.default);
  const known = models.some(({ name }) => name === chosen) ? chosen : (standard?.name ?? null);
  const newest = models.filter(({ name }, i) => models.findIndex((other) => other.name === name) === i);
  return select(
    label,
    newest.map(({ name }) => ({ value: name, text: name })),
    known,
  );
}

/**
 * @param {Offer} offer
 * @param {string | null} chosen
 */
export function policyField({ policies }, chosen) {
  const known = policies.some(({ name }) => name === chosen) ? chosen : 'default';
  return select(
    'Policy',
    policies.map(({ name }) => ({ value: name, text: name })),
    known,
  );
}

/**
 * Where the policy names its models, no other can be chosen.
 *
 * @param {Offer} offer
 * @param {Field} model
 * @param {Field} policy
 */
export function tieModel({ policies }, model, policy) {
  const tie = () => {
    model.input.disabled = policies.find(({ name }) => name === policy.input.value)?.models !== undefined;
  };
  policy.input.addEventListener('change', tie);
  tie();
}

/**
 * What of the choices belongs in a request: a policy that names its models excludes `model`.
 *
 * @param {Offer} offer
 * @param {string} model
 * @param {string} policy
 */
export function chosenOptions({ policies }, model, policy) {
  const own = policies.find(({ name }) => name === policy)?.models;
  return { ...(own === undefined ? { model } : {}), policy };
}

/**
 * Keeps a choice in the address.
 *
 * @param {string} view
 * @param {Readonly<Record<string, string>>} values
 */
export function remember(view, values) {
  history.replaceState(null, '', `#${view}?${new URLSearchParams(values)}`);
}
