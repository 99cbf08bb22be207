/** What is measured with: one bundle, texts, and the windows that the service makes of them. */
import { join } from 'node:path';

import { discoverBundles } from '../src/bundle/discover.ts';
import type { Bundle } from '../src/bundle/load.ts';
import type { Manifest } from '../src/bundle/manifest.ts';
import { normalize } from '../src/engine/normalize.ts';
import { loadTokenizer, type Tokenizer } from '../src/engine/tokenizer.ts';
import { cutWindows } from '../src/engine/windows.ts';
import { olidTestTexts } from './olid.ts';
import { createRandom } from './random.ts';
import { shuffledWords, syntheticTexts } from './texts.ts';

export interface Workload {
  /** Folder of bundles that the service is given. */
  readonly modelsDir: string;
  /** What is measured. */
  readonly bundle: Bundle;
  readonly manifest: Manifest;
  /** Path of the graph that the service takes on a CPU. */
  readonly graph: string;
  readonly precision: string;
  /** Where the texts are from, for the report. */
  readonly source: string;
  readonly texts: readonly SizedText[];
  /**
   * The texts over and over, each time with their words in another order: as long, but no two the same. The service
   * computes equal texts that wait at the same time once, and a benchmark that repeats a few would measure that.
   */
  readonly distinct: readonly SizedText[];
  /** The windows of all texts. */
  readonly windows: readonly Int32Array[];
  /** Over texts; special tokens included. */
  readonly meanTokens: number;
  /** @returns undefined for a text that the service refuses */
  size(text: string): SizedText | undefined;
}

export interface SizedText {
  readonly text: string;
  /** Of all its windows, special tokens included. */
  readonly tokens: number;
  readonly windows: readonly Int32Array[];
}

/** What ships for tweets; another model is named with --model. */
const USUAL_MODEL = 'olid-minilm';

/**
 * @param dataDir where OLID's test tweets are; texts of our own making with the same mix of lengths without it
 * @throws Error when there is no such bundle
 */
export async function loadWorkload(options: {
  readonly modelsDir: string;
  readonly model: string | undefined;
  readonly dataDir: string | undefined;
  /** Texts at most. */
  readonly texts: number;
}): Promise<Workload> {
  const bundle = await chooseBundle(options.modelsDir, options.model);
  const { folder, manifest } = bundle;
  const graph = manifest.graphs.find(({ executionProviders }) => executionProviders.includes('cpu'));
  if (graph === undefined) throw new Error(`${manifest.name} has no graph for a CPU, and nothing else is measured`);
  const encode = await loadTokenizer(join(folder, 'tokenizer.json'), join(folder, 'tokenizer_config.json'));
  const size = (text: string) => sizeOf(text, encode, manifest);
  const { dataDir } = options;
  const raw = dataDir === undefined ? syntheticTexts(options.texts) : olidTestTexts(dataDir);
  const texts = raw.slice(0, options.texts).flatMap((text) => size(text) ?? []);
  return {
    modelsDir: options.modelsDir,
    bundle,
    manifest,
    graph: join(folder, graph.file),
    precision: graph.precision,
    source: dataDir === undefined ? 'synthetic, lengths as in OLID' : 'OLID test tweets',
    texts,
    distinct: distinctTexts(texts, size),
    windows: texts.flatMap(({ windows }) => windows),
    meanTokens: texts.reduce((sum, { tokens }) => sum + tokens, 0) / texts.length,
    size,
  };
}

/** More than can wait at a time. */
const DISTINCT = 4_096;

/** In whole rounds, so that their mean length is that of the texts. */
function distinctTexts(texts: readonly SizedText[], size: Workload['size']): SizedText[] {
  const random = createRandom(texts.length);
  const rounds = Math.ceil(DISTINCT / texts.length);
  return Array.from({ length: rounds }, (_, round) =>
    texts.map((own) => (round === 0 ? own : (size(shuffledWords(own.text, random)) ?? own))),
  ).flat();
}

async function chooseBundle(modelsDir: string, model: string | undefined): Promise<Bundle> {
  const { bundles, refused } = await discoverBundles(modelsDir);
  const named = (name: string) => bundles.find(({ manifest }) => manifest.name === name);
  const chosen = model === undefined ? (named(USUAL_MODEL) ?? bundles[0]) : named(model);
  if (chosen !== undefined) return chosen;
  const why = refused.map(({ folder, reason }) => `${folder}: ${reason}`).join('\n');
  throw new Error(`No such bundle in ${modelsDir}: name a folder with --models and a model with --model.\n${why}`);
}

function sizeOf(text: string, encode: Tokenizer, manifest: Manifest): SizedText | undefined {
  const normalized = normalize(text, manifest.input.normalization);
  if ('error' in normalized) return undefined;
  const ids = encode(normalized.text);
  if (ids.length === 0) return undefined;
  const windows = cutWindows(Int32Array.from(ids), manifest.input);
  return { text, windows, tokens: windows.reduce((sum, window) => sum + window.length, 0) };
}
