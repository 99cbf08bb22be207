/** Starts the page: what the service offers, and the view that the address names. */
import { compareView } from './compare-view.js';
import { fileView } from './file-view.js';
import { askForKey, wantsKey } from './key.js';
import { problemCard } from './result.js';
import { fetchModels, fetchPolicies, ProblemError } from './service.js';
import { textView } from './text-view.js';

const VIEWS = { text: textView, compare: compareView, file: fileView };

/** @typedef {keyof typeof VIEWS} View */

/** @type {Set<View>} */
const built = new Set();

try {
  const offer = await fetchOffer();
  const show = () => showView(offer);
  addEventListener('hashchange', show);
  show();
} catch (error) {
  const problem =
    error instanceof ProblemError ? error.problem : { status: 0, code: 'page', title: 'This page made a mistake' };
  document.querySelector('#notice')?.replaceChildren(problemCard(problem));
}

/** @returns {Promise<import('./choices.js').Offer>} once there is a key that will do, where one is needed */
async function fetchOffer() {
  for (;;) {
    try {
      const [models, policies] = await Promise.all([fetchModels(), fetchPolicies()]);
      return { models, policies };
    } catch (error) {
      const place = document.querySelector('#notice');
      if (place === null || !(error instanceof ProblemError) || !wantsKey(error.problem)) throw error;
      await askForKey(place);
    }
  }
}

/** @param {import('./choices.js').Offer} offer */
function showView(offer) {
  const [name = '', query = ''] = location.hash.slice(1).split('?');
  if (name === 'main') return;
  const view = /** @type {View} */ (Object.hasOwn(VIEWS, name) ? name : 'text');
  for (const link of document.querySelectorAll('nav a')) {
    if (link.getAttribute('data-view') === view) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  for (const section of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('section[data-view]'))) {
    section.hidden = section.dataset.view !== view;
    if (section.hidden || built.has(view)) continue;
    const input = section.querySelector('[data-slot=input]');
    const result = section.querySelector('[data-slot=result]');
    if (!(input instanceof HTMLElement && result instanceof HTMLElement)) continue;
    VIEWS[view]({ input, result, offer, state: new URLSearchParams(query) });
    built.add(view);
  }
}
