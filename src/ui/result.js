/** One text's answer, whole. */
import { badge, reasonText } from './decision.js';
import { h, uniqueId } from './dom.js';
import { counted, milliseconds, probability } from './format.js';
import { heatMap } from './heat-map.js';
import { meter } from './meter.js';
import { words } from './words.js';

/**
 * @param {object} options
 * @param {string} options.text
 * @param {import('./service.js').Answer} options.answer
 * @param {import('./service.js').Result} options.result
 * @param {readonly import('./service.js').Model[]} options.models that are served
 * @param {string} [options.title] of the whole, where several stand side by side
 */
export function resultCard({ text, answer, result, models, title }) {
  const heading = title === undefined ? 'h2' : 'h3';
  const model = served(models, answer.model);
  return h(
    'article',
    { class: 'card result', 'aria-label': title ?? 'Answer' },
    title !== undefined && h('h2', { class: 'side-title' }, title),
    verdict(answer, result),
    part(heading, 'Probabilities', probabilities(result, model, answer.threshold)),
    result.explanation && part(heading, 'Words', words(text, result.explanation, result.evasion?.folded ?? false)),
    result.gates && part(heading, 'Gates', heatMap(result.gates)),
    result.gates === null && part(heading, 'Gates', h('p', { class: 'fact' }, 'This model has no gates.')),
    result.windows > 1 && part(heading, 'Windows', windows(result, answer.threshold)),
    result.otherModels?.map((other) => {
      const { name, version } = other.model;
      return part(heading, `${name} ${version}`, otherModel(other, served(models, other.model)));
    }),
    h('p', { class: 'quiet timing' }, timing(answer, result)),
  );
}

/**
 * @param {readonly import('./service.js').Model[]} models
 * @param {import('./service.js').ModelReference} wanted
 */
function served(models, wanted) {
  return models.find(({ name, version }) => name === wanted.name && version === wanted.version);
}

/**
 * @param {'h2' | 'h3'} heading
 * @param {string} title
 * @param {Node} content
 */
function part(heading, title, content) {
  const id = uniqueId('part');
  return h('section', { class: 'part', 'aria-labelledby': id }, h(heading, { id }, title), content);
}

/**
 * @param {import('./service.js').Answer} answer
 * @param {import('./service.js').Result} result
 */
function verdict(answer, { decision, reasons, offensive, flagged, evasion, language, otherModels = [] }) {
  const kinds = Object.keys(evasion?.kinds ?? {});
  const by = otherModels.length > 0 ? ` by ${answer.model.name}` : '';
  return h(
    'div',
    { class: 'verdict' },
    h(
      'p',
      { class: 'headline' },
      badge(decision),
      h('span', { class: 'score' }, probability(offensive)),
      h(
        'span',
        { class: 'score-name' },
        `offensive${by}, ${flagged ? 'at or above' : 'below'} the threshold of ${probability(answer.threshold)}`,
      ),
    ),
    h(
      'ul',
      { class: 'reasons' },
      reasons.map((reason) => h('li', {}, reasonText(reason))),
      kinds.length > 0 &&
        h('li', {}, `Signs of disguise: ${kinds.join(', ')}${evasion?.folded ? '; scored with them undone' : ''}`),
      language?.supported === false &&
        h('li', {}, `Looks like “${language.detected}”, which this model was not made for`),
    ),
    h('p', { class: 'quiet' }, `Policy ${answer.policy.name}, version ${answer.policy.version}`),
  );
}

/**
 * @param {import('./service.js').Scores} scores
 * @param {import('./service.js').Model | undefined} model
 * @param {number} [threshold] of `flagged`
 */
function probabilities(scores, model, threshold) {
  const positive = model?.positiveLabels ?? [];
  const alone = positive.length === 1;
  const ticked = threshold === undefined ? '' : '; the tick is the threshold';
  return h(
    'div',
    { class: 'meters' },
    Object.entries(scores.probabilities).map(([name, value]) => {
      if (!positive.includes(name)) return meter({ name, value });
      return alone
        ? meter({ name, value, warm: true, note: `counts as offensive${ticked}`, mark: threshold })
        : meter({ name, value, warm: true, note: 'counts as offensive' });
    }),
    !alone &&
      meter({
        name: 'All that count',
        note: `their sum${ticked}`,
        value: scores.offensive,
        warm: true,
        mark: threshold,
      }),
  );
}

/**
 * What a further model of the policy says. It has no tick: `flagged` is of the first model alone.
 *
 * @param {import('./service.js').Scores} scores
 * @param {import('./service.js').Model | undefined} model
 */
function otherModel(scores, model) {
  return h(
    'div',
    {},
    probabilities(scores, model),
    scores.gates && h('details', {}, h('summary', {}, 'Gates'), heatMap(scores.gates, model?.name)),
    scores.gates === null && h('p', { class: 'fact' }, 'This model has no gates.'),
  );
}

/**
 * @param {import('./service.js').Result} result
 * @param {number} threshold
 */
function windows({ windowResults = [], offensive }, threshold) {
  const deciding = windowResults.findIndex((window) => window.offensive === offensive);
  return h(
    'div',
    {},
    h(
      'p',
      { class: 'fact' },
      'Longer than the model reads at once, so read in overlapping windows. The most offensive one decides; gates are averaged.',
    ),
    h(
      'ol',
      { class: 'windows' },
      windowResults.map((window, i) =>
        h(
          'li',
          { class: i === deciding ? 'deciding' : null },
          meter({
            name: `Window ${i + 1}`,
            value: window.offensive,
            warm: true,
            mark: threshold,
            note: `${window.tokens} tokens${i === deciding ? ' · decides' : ''}`,
          }),
        ),
      ),
    ),
  );
}

/**
 * @param {import('./service.js').Answer} answer
 * @param {import('./service.js').Result} result
 */
function timing({ model, timing: { queueMs, tokenizeMs, inferenceMs, explainMs } }, { tokens }) {
  const explained = explainMs === undefined ? '' : ` · explained in ${milliseconds(explainMs)}`;
  return `${model.name} ${model.version} · ${counted(tokens, 'token')} · waited ${milliseconds(queueMs)}, tokenised ${milliseconds(tokenizeMs)}, inferred ${milliseconds(inferenceMs)}${explained}`;
}

/** @param {import('./service.js').Problem} problem */
export function problemCard(problem) {
  return h(
    'div',
    { class: 'card problem' },
    h('p', { class: 'problem-title' }, problem.title, problem.detail !== undefined && `: ${problem.detail}`),
    problem.remedy !== undefined && h('p', {}, problem.remedy),
    h('p', { class: 'quiet' }, h('code', {}, problem.code)),
  );
}
