/**
 * What a JSON Schema cannot say: the parts of a manifest, and of its golden vectors, must agree with each other.
 * Each rule is one entry of a table and returns the problems it finds.
 */
import type { Golden } from './golden.ts';
import type { Manifest } from './manifest.ts';

type Rule = (manifest: Manifest) => readonly string[];

const key = (gate: { layer: number; module: string }) => `${gate.layer}/${gate.module}`;

const repeated = (names: readonly string[]) => [...new Set(names.filter((name, i) => names.indexOf(name) !== i))];

const unknown = (names: readonly string[], known: readonly string[]) => names.filter((name) => !known.includes(name));

const ascending = (values: readonly number[]) =>
  values.every((value, i) => i === 0 || value >= (values[i - 1] as number));

/** Ids that fit one window beside the special tokens. */
function windowCapacity(input: Manifest['input']): number {
  return input.maxTokens - input.prefixIds.length - input.suffixIds.length;
}

const RULES: readonly Rule[] = [
  function labels(m) {
    const problems = unknown(m.positiveLabels, m.labels).map(
      (label) => `positiveLabels names ${label}, which is not in labels`,
    );
    if (m.positiveLabels.length === m.labels.length)
      problems.push('positiveLabels holds every label: one must mean "not offensive"');
    for (const label of unknown(Object.keys(m.attributes), m.labels))
      problems.push(`attributes names ${label}, which is not in labels`);
    return problems;
  },

  function windows(m) {
    const capacity = windowCapacity(m.input);
    if (capacity < 1) return ['input.maxTokens leaves no room beside prefixIds and suffixIds'];
    if (m.input.windowOverlap >= capacity)
      return [
        `input.windowOverlap is ${m.input.windowOverlap}, expected less than the ${capacity} ids that fit one window`,
      ];
    return [];
  },

  function prompt(m) {
    const words = m.input.prompt?.words;
    if (words === undefined) return [];
    return [
      ...unknown(Object.keys(words), m.labels).map((label) => `input.prompt names ${label}, which is not in labels`),
      ...unknown(m.labels, Object.keys(words)).map((label) => `input.prompt has no word for ${label}`),
      ...repeated(Object.values(words)).map((word) => `input.prompt answers two labels with ${word}`),
    ];
  },

  // Recall never rises with the threshold, so the three uses must be ordered alike by both.
  function thresholds(m) {
    const uses = Object.entries(m.thresholds);
    return uses.flatMap(([a, low]) =>
      uses
        .filter(([, high]) => low.value < high.value && low.recall < high.recall)
        .map(([b]) => `thresholds: ${a} is lower than ${b} and yet recalls less`),
    );
  },

  function gates(m) {
    const columns = m.gates.map(key);
    const problems = repeated(columns).map((column) => `gates lists ${column} twice`);
    for (const dropped of m.dropped.map(key))
      if (columns.includes(dropped)) problems.push(`${dropped} is in gates and in dropped`);
    if (m.method.gate === null && columns.length > 0) problems.push('method.gate is null, but gates has columns');
    return problems;
  },

  function distribution(m) {
    const { probabilities, gates, tokens, classes = {}, meanGate } = m.distribution;
    const problems = unknown(Object.keys(probabilities), m.labels).map(
      (label) => `distribution.probabilities names ${label}, which is not in labels`,
    );
    const columns = m.gates.map(key);
    for (const gate of gates) {
      if (!columns.includes(key(gate))) problems.push(`distribution.gates has ${key(gate)}, which is not in gates`);
      for (const label of unknown(Object.keys(gate.quantiles), m.labels))
        problems.push(`distribution.gates ${key(gate)} names class ${label}, which is not in labels`);
      if (!Object.values(gate.quantiles).every(ascending))
        problems.push(`distribution.gates ${key(gate)} has quantiles that do not ascend`);
    }
    for (const column of unknown(columns, gates.map(key))) problems.push(`distribution.gates lacks ${column}`);
    for (const label of unknown([...Object.keys(classes), ...Object.keys(meanGate ?? {})], m.labels))
      problems.push(`distribution.classes or meanGate names ${label}, which is not in labels`);
    if (!Object.values(meanGate ?? {}).every(ascending))
      problems.push('distribution.meanGate has quantiles that do not ascend');
    for (const [name, histogram] of [...Object.entries(probabilities), ['tokens', tokens] as const]) {
      if (histogram.edges.length !== histogram.counts.length + 1)
        problems.push(
          `distribution histogram ${name} has ${histogram.edges.length} edges for ${histogram.counts.length} counts`,
        );
      if (!ascending(histogram.edges)) problems.push(`distribution histogram ${name} has edges that do not ascend`);
    }
    return problems;
  },

  function files(m) {
    const names = storedFiles(m).map((entry) => entry.file);
    const problems = repeated(names).map((name) => `${name} is listed twice`);
    if (names.includes('manifest.json')) problems.push('manifest.json lists itself');
    for (const needed of ['tokenizer.json', 'tokenizer_config.json', 'golden.json'])
      if (!m.files.some((entry) => entry.file === needed)) problems.push(`files does not list ${needed}`);
    return problems;
  },
];

/** Every file that the manifest names: graphs, their external data, and the rest. */
export function storedFiles(manifest: Manifest): readonly { file: string; sha256: string; bytes: number }[] {
  return [...manifest.graphs.flatMap((graph) => [graph, ...graph.externalData]), ...manifest.files];
}

/** @returns problems; empty when the manifest agrees with itself */
export function checkManifestConsistency(manifest: Manifest): readonly string[] {
  return RULES.flatMap((rule) => rule(manifest));
}

/** A tolerance above this proves nothing about a probability. */
const LARGEST_TOLERANCE = 0.25;

/** @returns problems; empty when the golden vectors have the shapes and the variety that the manifest calls for */
export function checkGoldenConsistency(golden: Golden, manifest: Manifest): readonly string[] {
  const problems: string[] = [];
  for (const precision of new Set(manifest.graphs.map((graph) => graph.precision))) {
    const tolerance = golden.tolerance[precision];
    if (tolerance === undefined) problems.push(`golden.json has no tolerance for precision ${precision}`);
    else if (Math.max(tolerance.probabilities, tolerance.gates) > LARGEST_TOLERANCE)
      problems.push(`golden.json allows ${precision} more than ${LARGEST_TOLERANCE}, which proves nothing`);
  }

  const { prefixIds, suffixIds, maxTokens } = manifest.input;
  golden.items.forEach((item, i) => {
    if ('error' in item) return;
    for (const scores of [...item.windows, item.combined]) {
      if (scores.probabilities.length !== manifest.labels.length)
        problems.push(
          `golden item ${i} has ${scores.probabilities.length} probabilities for ${manifest.labels.length} labels`,
        );
      if (scores.gates.length !== manifest.gates.length)
        problems.push(`golden item ${i} has ${scores.gates.length} gates for ${manifest.gates.length} columns`);
    }
    for (const { ids } of item.windows) {
      const framed =
        prefixIds.every((id, k) => ids[k] === id) &&
        suffixIds.every((id, k) => ids[ids.length - suffixIds.length + k] === id);
      if (!framed) problems.push(`golden item ${i} has a window without prefixIds or suffixIds`);
      if (ids.length > maxTokens)
        problems.push(`golden item ${i} has a window of ${ids.length} tokens, maxTokens is ${maxTokens}`);
    }
  });

  if (!golden.items.some((item) => 'windows' in item && item.windows.length > 1))
    problems.push('golden.json has no text longer than maxTokens');
  for (const code of ['empty_after_normalization', 'invalid_unicode'])
    if (!golden.items.some((item) => 'error' in item && item.error === code))
      problems.push(`golden.json has no text that is refused with ${code}`);
  return problems;
}
