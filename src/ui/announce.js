/** Says what happened to those who do not see it. */
import { h } from './dom.js';

const region = h('div', { class: 'unseen', role: 'status' });
document.body.append(region);

/** @param {string} text */
export function announce(text) {
  region.textContent = text;
}
