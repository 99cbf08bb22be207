/** A CSV of posts: classified in batches, shown as a distribution, downloaded with the answers. */
import { announce } from './announce.js';
import { classifyAll } from './batches.js';
import { chosenOptions, modelField, policyField, remember, select, tieModel } from './choices.js';
import { readCsv, writeCsv } from './csv.js';
import { h, uniqueId } from './dom.js';
import { count, counted } from './format.js';
import { histogram } from './histogram.js';
import { problemCard } from './result.js';
import { ProblemError } from './service.js';

/** Bytes: what a page can hold and show while it works. */
const LARGEST_FILE = 50 * 1024 * 1024;
const LIKELY_COLUMNS = ['text', 'tweet', 'comment', 'post', 'message', 'body', 'content'];
const ADDED_COLUMNS = ['label', 'score', 'offensive', 'flagged', 'decision', 'gate_mean', 'error'];

/** @typedef {{ readonly name: string, readonly header: readonly string[], readonly rows: readonly (readonly string[])[] }} Loaded */

/**
 * @param {object} options
 * @param {HTMLElement} options.input
 * @param {HTMLElement} options.result
 * @param {import('./choices.js').Offer} options.offer
 * @param {URLSearchParams} options.state
 */
export function fileView({ input, result, offer, state }) {
  const chooser = h('input', {
    type: 'file',
    id: uniqueId('file'),
    accept: '.csv,.tsv,text/csv,text/tab-separated-values',
    onchange: () => void load(chooser.files?.[0]),
  });
  const zone = h(
    'div',
    {
      class: 'zone',
      ondragover: (/** @type {DragEvent} */ event) => {
        event.preventDefault();
        zone.classList.add('over');
      },
      ondragleave: () => zone.classList.remove('over'),
      ondrop: (/** @type {DragEvent} */ event) => {
        event.preventDefault();
        zone.classList.remove('over');
        void load(event.dataTransfer?.files[0]);
      },
    },
    h('label', { for: chooser.id }, 'Drop a CSV here, or choose one'),
    chooser,
    h('p', { class: 'quiet' }, 'First row: names of the columns. Comma, semicolon or tab; UTF-8; at most 50 MB.'),
  );
  const setup = h('div', {});
  const form = h('div', { class: 'card' }, zone, setup);
  input.replaceChildren(form);
  /** @type {AbortController | undefined} */
  let running;

  /** @param {File | undefined} file */
  async function load(file) {
    if (file === undefined) return;
    running?.abort();
    result.replaceChildren();
    setup.replaceChildren();
    if (file.size > LARGEST_FILE)
      return refuse('The file is larger than 50 MB', 'Divide it, or use the command dslora-classify.');
    try {
      const content = new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer());
      const { header, rows } = await readCsv(content);
      if (rows.length === 0)
        return refuse('The file has no rows', 'It needs a first row with names of columns, and rows below it.');
      configure({ name: file.name, header, rows });
    } catch (error) {
      const encoding = error instanceof TypeError;
      refuse(
        encoding ? 'The file is not UTF-8' : 'The file cannot be read as CSV',
        encoding
          ? 'Save it as “CSV UTF-8” and drop it again.'
          : 'A quotation mark may be open at its end. Save it again as CSV and drop it once more.',
      );
    }
  }

  /** @param {string} title @param {string} remedy */
  function refuse(title, remedy) {
    announce(title);
    result.replaceChildren(problemCard({ status: 0, code: 'file', title, remedy }));
  }

  /** @param {Loaded} loaded */
  function configure(loaded) {
    const { header, rows } = loaded;
    const guess = header.findIndex((name) => LIKELY_COLUMNS.includes(name.trim().toLowerCase()));
    const column = select(
      'Column with the text',
      header.map((name, i) => ({ value: String(i), text: name === '' ? `Column ${i + 1}` : name })),
      String(guess === -1 ? longest(rows, header.length) : guess),
    );
    const model = modelField(offer, state.get('model'));
    const policy = policyField(offer, state.get('policy'));
    tieModel(offer, model, policy);
    for (const choice of [model, policy]) {
      choice.input.addEventListener('change', () =>
        remember('file', { model: model.input.value, policy: policy.input.value }),
      );
    }
    const start = h(
      'button',
      {
        type: 'button',
        class: 'primary',
        onclick: () => {
          void run(loaded, Number(column.input.value), chosenOptions(offer, model.input.value, policy.input.value));
        },
      },
      `Classify ${counted(rows.length, 'row')}`,
    );
    setup.replaceChildren(
      h('p', { class: 'fact' }, h('bdi', {}, loaded.name), `: ${counted(rows.length, 'row')}`),
      h('div', { class: 'fields' }, column.element, model.element, policy.element),
      h('div', { class: 'actions' }, start),
    );
    announce(`${counted(rows.length, 'row')} read`);
    start.focus();
  }

  /**
   * @param {Loaded} loaded
   * @param {number} column
   * @param {import('./service.js').Body} choice
   */
  async function run(loaded, column, choice) {
    running?.abort();
    const own = new AbortController();
    running = own;
    const { rows } = loaded;
    const label = uniqueId('progress');
    const bar = h('progress', { max: rows.length, value: 0, 'aria-labelledby': label });
    const status = h('span', { id: label }, `0 of ${count(rows.length)}`);
    const cancel = h('button', { type: 'button', class: 'plain', onclick: () => own.abort() }, 'Cancel');
    const summary = h('div', { class: 'summary' });
    result.replaceChildren(
      h('div', { class: 'card progress' }, h('div', { class: 'snippet-bar' }, status, cancel), bar),
      summary,
    );
    /** @type {import('./batches.js').Outcome[]} */
    const outcomes = [];
    const begun = performance.now();
    /** @type {import('./service.js').Problem | undefined} */
    let stopped;
    let threshold = 0.5;
    const options = { ...choice, gates: 'mean', onError: 'item', priority: 'bulk' };
    try {
      for await (const batch of classifyAll(
        rows.map((row) => row[column] ?? ''),
        options,
        own.signal,
      )) {
        outcomes.push(...batch.outcomes);
        threshold = batch.threshold ?? threshold;
        bar.value = outcomes.length;
        const seconds = (performance.now() - begun) / 1000;
        status.textContent = `${count(outcomes.length)} of ${count(rows.length)} · ${count(Math.round(outcomes.length / seconds))} rows/s`;
        summary.replaceChildren(distribution(outcomes, threshold));
      }
    } catch (error) {
      if (!own.signal.aborted)
        stopped =
          error instanceof ProblemError
            ? error.problem
            : { status: 0, code: 'page', title: 'This page made a mistake' };
    }
    if (running !== own) return;
    cancel.remove();
    const done = outcomes.length === rows.length;
    const ending = done ? 'Done' : stopped === undefined ? 'Cancelled' : 'Stopped';
    status.textContent = `${ending}: ${count(outcomes.length)} of ${count(rows.length)}`;
    announce(status.textContent);
    summary.replaceChildren(
      ...(stopped === undefined ? [] : [problemCard(stopped)]),
      ...(outcomes.length === 0 ? [] : [distribution(outcomes, threshold), download(loaded, outcomes)]),
    );
  }
}

/**
 * @param {readonly import('./batches.js').Outcome[]} outcomes
 * @param {number} threshold
 */
function distribution(outcomes, threshold) {
  const answered = outcomes.flatMap((outcome) => (outcome.error === undefined ? [outcome] : []));
  const failed = outcomes.length - answered.length;
  return h(
    'div',
    { class: 'card' },
    h('h2', {}, 'Distribution of “offensive”'),
    histogram(
      answered.map(({ offensive }) => offensive),
      threshold,
    ),
    h(
      'div',
      { class: 'pair' },
      tally(
        'Label',
        answered.map(({ label }) => label),
      ),
      tally(
        'Decision',
        answered.map(({ decision }) => decision),
      ),
    ),
    failed > 0 &&
      h('p', { class: 'fact' }, `${counted(failed, 'row')} could not be classified; the download says why.`),
  );
}

/**
 * @param {string} title
 * @param {readonly string[]} values
 */
function tally(title, values) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  const rows = [...counts].sort(([, one], [, other]) => other - one);
  return h(
    'table',
    { class: 'numbers' },
    h(
      'thead',
      {},
      h(
        'tr',
        {},
        h('th', { scope: 'col' }, title),
        h('th', { scope: 'col' }, 'rows'),
        h('th', { scope: 'col' }, 'share'),
      ),
    ),
    h(
      'tbody',
      {},
      rows.map(([value, number]) =>
        h(
          'tr',
          {},
          h('th', { scope: 'row' }, value),
          h('td', {}, count(number)),
          h('td', {}, `${((100 * number) / values.length).toFixed(1)} %`),
        ),
      ),
    ),
  );
}

/**
 * @param {Loaded} loaded
 * @param {readonly import('./batches.js').Outcome[]} outcomes
 */
function download({ name, header, rows }, outcomes) {
  const safe = h('input', { type: 'checkbox', checked: true });
  const save = () => {
    const records = [
      [...header, ...ADDED_COLUMNS.map((added) => (header.includes(added) ? `dslora_${added}` : added))],
      ...outcomes.map((outcome, i) => [...header.map((_, column) => rows[i]?.[column] ?? ''), ...cells(outcome)]),
    ];
    const address = URL.createObjectURL(new Blob(['\ufeff', writeCsv(records, safe.checked)], { type: 'text/csv' }));
    h('a', { href: address, download: `${name.replace(/\.[^.]*$/, '')}.classified.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  };
  return h(
    'div',
    { class: 'card actions' },
    h('button', { type: 'button', class: 'primary', onclick: save }, 'Download as CSV'),
    h(
      'label',
      { class: 'check' },
      safe,
      'Safe for spreadsheets: an apostrophe before cells that would run as formulas',
    ),
  );
}

/** @param {import('./batches.js').Outcome} outcome */
function cells(outcome) {
  if (outcome.error !== undefined) return ['', '', '', '', '', '', outcome.error.code];
  const { label, score, offensive, flagged, decision, gates } = outcome;
  return [label, score, offensive, flagged, decision, gates?.mean ?? '', ''].map(String);
}

/**
 * The column whose cells are longest on average.
 *
 * @param {readonly (readonly string[])[]} rows
 * @param {number} columns
 */
function longest(rows, columns) {
  const sums = Array.from({ length: columns }, (_, column) =>
    rows.slice(0, 200).reduce((sum, row) => sum + (row[column]?.length ?? 0), 0),
  );
  return sums.indexOf(Math.max(...sums));
}
