/** A text area with its length, and Ctrl+Enter to send. */
import { h, uniqueId } from './dom.js';
import { counted } from './format.js';
import { ProblemError } from './service.js';

/**
 * @param {object} options
 * @param {string} options.label
 * @param {number} [options.rows]
 * @param {() => void} options.send
 */
export function textField({ label, rows = 7, send }) {
  const id = uniqueId('text');
  const hint = uniqueId('hint');
  const length = h('span', { class: 'length' });
  const input = h('textarea', {
    id,
    rows,
    dir: 'auto',
    spellcheck: 'false',
    autocomplete: 'off',
    'aria-describedby': hint,
    placeholder: 'Type or paste a post',
  });
  const show = () => {
    length.textContent = input.value === '' ? '' : counted([...input.value].length, 'character');
  };
  input.addEventListener('input', show);
  input.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    send();
  });
  const element = h(
    'div',
    { class: 'field' },
    h('label', { for: id }, label),
    input,
    h('div', { class: 'under', id: hint }, h('span', {}, 'Ctrl or ⌘ + Enter classifies'), length),
  );
  /** @param {string} text */
  const set = (text) => {
    input.value = text;
    show();
  };
  return { element, input, set };
}

/**
 * What was entered.
 *
 * @param {{ readonly input: HTMLTextAreaElement }} field
 * @throws {ProblemError} where that is nothing
 */
export function textOf({ input }) {
  if (input.value.trim() !== '') return input.value;
  input.focus();
  const problem = { status: 0, code: 'no_text', title: 'There is no text yet', remedy: 'Type or paste one.' };
  throw new ProblemError(problem, undefined);
}
