/** What the tokenizer process does: normalises and tokenises the texts of every model. */
import { normalize } from './normalize.ts';
import { EMPTY, type Handler, INVALID_UNICODE, type LoadTokenizer, type Tokenize, type Tokenized } from './protocol.ts';
import { Refusal } from './refusal.ts';
import { locate } from './stamp.ts';
import { loadTokenizer, type Tokenizer } from './tokenizer.ts';

interface Loaded {
  readonly encode: Tokenizer;
  readonly normalization: LoadTokenizer['normalization'];
}

export function createHandler(): Handler {
  const models = new Map<string, Loaded>();
  const shared = new Map<string, Promise<Tokenizer>>();

  async function load(request: LoadTokenizer): Promise<Record<string, never>> {
    const [path = '', config = ''] = await Promise.all([request.tokenizer, request.config].map(locate));
    const tokenizer = shared.get(request.identity) ?? loadTokenizer(path, config);
    shared.set(request.identity, tokenizer);
    try {
      models.set(request.model, { encode: await tokenizer, normalization: request.normalization });
    } catch {
      shared.delete(request.identity);
      throw new Refusal('tokenizer.json or tokenizer_config.json is not a tokenizer that the service can load');
    }
    return {};
  }

  function tokenize(request: Tokenize): Tokenized {
    const model = models.get(request.model);
    if (model === undefined) throw new Refusal(`no tokenizer is loaded for ${request.model}`);
    const started = performance.now();
    const outcomes = request.texts.map((text) => outcomeOf(text, model));
    const ids = new Int32Array(outcomes.reduce((sum, outcome) => sum + outcome.ids.length, 0));
    let offset = 0;
    for (const outcome of outcomes) {
      ids.set(outcome.ids, offset);
      offset += outcome.ids.length;
    }
    return {
      counts: Int32Array.from(outcomes, (outcome) => outcome.count),
      ids,
      normalized: request.normalized ? outcomes.map((outcome) => outcome.normalized) : undefined,
      seconds: (performance.now() - started) / 1000,
    };
  }

  return (request) => {
    if (request.type === 'load-tokenizer') return load(request);
    if (request.type === 'tokenize') return tokenize(request);
    throw new Refusal(`a tokenizer process cannot ${request.type}`);
  };
}

function outcomeOf(text: string, model: Loaded): { count: number; ids: readonly number[]; normalized: string } {
  const outcome = normalize(text, model.normalization);
  if ('error' in outcome)
    return { count: outcome.error === 'invalid_unicode' ? INVALID_UNICODE : EMPTY, ids: [], normalized: '' };
  const ids = model.encode(outcome.text);
  return ids.length === 0
    ? { count: EMPTY, ids, normalized: '' }
    : { count: ids.length, ids, normalized: outcome.text };
}
