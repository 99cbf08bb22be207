/** Sends a request and shows what comes of it, one at a time: a newer request ends the one before. */

import { announce } from './announce.js';
import { h } from './dom.js';
import { problemCard } from './result.js';
import { ProblemError } from './service.js';

/**
 * @param {HTMLElement} slot where answers are shown
 * @returns {(work: (signal: AbortSignal) => Promise<readonly Node[]>) => Promise<void>}
 */
export function asker(slot) {
  /** @type {AbortController | undefined} */
  let current;
  return async (work) => {
    current?.abort();
    const own = new AbortController();
    current = own;
    slot.setAttribute('aria-busy', 'true');
    try {
      const shown = await work(own.signal);
      if (current === own) slot.replaceChildren(...shown);
    } catch (error) {
      if (current !== own) return;
      slot.replaceChildren(errorNode(error));
    } finally {
      if (current === own) slot.removeAttribute('aria-busy');
    }
  };
}

/** @param {unknown} error */
function errorNode(error) {
  if (error instanceof ProblemError) {
    announce(`Not classified. ${error.problem.title}`);
    return problemCard(error.problem);
  }
  announce('Not classified. This page made a mistake.');
  console.error(error);
  return h('div', { class: 'card problem' }, h('p', { class: 'problem-title' }, 'This page made a mistake.'));
}
