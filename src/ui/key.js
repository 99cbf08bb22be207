/** The key of whoever sits at this page: asked for where the service wants one, and kept until the tab is closed. */
import { h, uniqueId } from './dom.js';

/** In the session's storage: no other tab sees it, and none of it outlives this one. */
const STORED = 'api-key';

/** What the service answers where a key would help. */
const CODES = ['unauthorized', 'forbidden'];

/** @param {import('./service.js').Problem} problem */
export function wantsKey({ code }) {
  return CODES.includes(code);
}

/** @returns {Record<string, string>} headers of each request */
export function keyHeaders() {
  const key = sessionStorage.getItem(STORED);
  return key === null ? {} : { authorization: `Bearer ${key}` };
}

/**
 * Asks for a key and keeps it.
 *
 * @param {Element} place what is in it makes room
 * @returns {Promise<void>} when one was given
 */
export function askForKey(place) {
  const id = uniqueId('key');
  const refused = sessionStorage.getItem(STORED) !== null;
  sessionStorage.removeItem(STORED);
  const field = h('input', { id, type: 'password', autocomplete: 'off', required: true, spellcheck: 'false' });
  return new Promise((resolve) => {
    const use = (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      const key = field.value.trim();
      if (key === '') return;
      sessionStorage.setItem(STORED, key);
      place.replaceChildren();
      resolve();
    };
    place.replaceChildren(
      h(
        'form',
        { class: 'card key', onsubmit: use },
        h('label', { for: id }, refused ? 'This key will not do here. Another one:' : 'This service needs a key:'),
        h('div', { class: 'key-row' }, field, h('button', { type: 'submit' }, 'Use it')),
        h('p', { class: 'quiet' }, 'Kept in this tab only, and forgotten when it is closed.'),
      ),
    );
    field.focus();
  });
}
