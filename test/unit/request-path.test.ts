import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { EngineError, type TextOutcome } from '../../src/engine/types.ts';
import { copyTiny, modelsFolder, set } from '../fixtures/bundle-copy.ts';
import { pause, startEngine, until, type WatchedEngine } from '../fixtures/tiny-engine.ts';

const hasCode =
  (code: string, index?: number) =>
  (error: EngineError): boolean => {
    assert.equal(error.code, code, error.stack);
    assert.equal(error.index, index);
    return true;
  };

const outcomeOf = (outcome: TextOutcome) => (outcome instanceof EngineError ? outcome.code : 'answered');

/** Each is one token of the tiny tokenizer. */
const WORDS = 'you are kind an idiot what a lovely day fool stop it see and said words at call of may be'.split(' ');

const kill = (watched: WatchedEngine, role: string) => process.kill(watched.pids(role)[0] as number, 'SIGKILL');

describe('equal texts', () => {
  test('in flight are computed once, by what they normalise to, and all are answered', async (t) => {
    const watched = await startEngine(t);
    const { engine, sources, batches } = watched;
    const resume = pause(watched, 'inference');
    const texts = ['you are kind', 'YOU are kind!!!', 'you are kind', 'idiot'];
    const requests = [engine.classify({ texts }), engine.classify({ texts: ['You  are kind'] })];
    await until(() => sources.computed + sources.shared === 5);
    resume();
    const [first, second] = await Promise.all(requests);
    assert.deepEqual(sources, { computed: 2, shared: 3, cached: 0 });
    assert.equal(
      batches.reduce((sum, { windows }) => sum + windows, 0),
      2,
    );
    assert.deepEqual(first?.results[0], first?.results[1]);
    assert.deepEqual(first?.results[0], second?.results[0]);
    assert.notDeepEqual(first?.results[0]?.probabilities, first?.results[3]?.probabilities);
  });

  test('go on while one of those who asked still waits, and end with the last', async (t) => {
    const watched = await startEngine(t, { workers: 1 });
    const { engine, sources } = watched;
    const resume = pause(watched, 'inference');
    const running = engine.classify({ texts: ['idiot'] });
    await until(() => sources.computed === 1);
    const clients = [1, 2, 3].map(() => new AbortController());
    const asked = clients.map(({ signal }) => engine.classify({ texts: ['you are kind'], signal }));
    await until(() => watched.depth() === 1 && sources.shared === 2);
    for (const client of clients.slice(1)) client.abort(new Error('gone'));
    await assert.rejects(asked[1] as Promise<unknown>, /gone/);
    await assert.rejects(asked[2] as Promise<unknown>, /gone/);
    assert.equal(watched.depth(), 1);
    const last = new AbortController();
    const given = engine.classify({ texts: ['kind'], signal: last.signal });
    await until(() => watched.depth() === 2);
    last.abort(new Error('gone'));
    await assert.rejects(given, /gone/);
    assert.equal(watched.depth(), 1);
    resume();
    assert.equal((await asked[0])?.results.length, 1);
    await running;
  });

  test('are kept while a cache is wanted, within its size', async (t) => {
    const { engine, sources, batches } = await startEngine(t, { cacheBytes: 10_000 });
    const first = await engine.classify({ texts: ['you are kind'] });
    const second = await engine.classify({ texts: ['You are kind.'] });
    assert.deepEqual(second.results, first.results);
    assert.equal(second.timing.inferenceMs, 0);
    assert.deepEqual(sources, { computed: 1, shared: 0, cached: 1 });
    assert.equal(batches.length, 1);
    for (const one of WORDS)
      for (const other of WORDS.slice(0, 4)) await engine.classify({ texts: [`${one} ${other}`] });
    await engine.classify({ texts: ['you are kind'] });
    assert.equal(sources.cached, 1);
  });

  test('share nothing where an answer depends on the batch', async (t) => {
    const models = await modelsFolder(t);
    await copyTiny(models, 'tiny', set('graphs.0.batchInvariant', false));
    const { engine, sources } = await startEngine(t, { modelsDir: models, cacheBytes: 10_000 });
    await engine.classify({ texts: ['you are kind', 'you are kind'] });
    await engine.classify({ texts: ['you are kind'] });
    assert.deepEqual(sources, { computed: 3, shared: 0, cached: 0 });
  });

  test('are not shared between models', async (t) => {
    const models = await modelsFolder(t);
    for (const name of ['one', 'two']) await copyTiny(models, name, set('name', name));
    const { engine, sources } = await startEngine(t, { modelsDir: models, cacheBytes: 10_000 });
    for (const model of ['one', 'two']) await engine.classify({ model, texts: ['you are kind'] });
    assert.equal(sources.computed, 2);
  });
});

describe('deadlines', () => {
  test('a request is given up when its time is over, and frees its places', async (t) => {
    const watched = await startEngine(t, { workers: 1 });
    const { engine } = watched;
    const resume = pause(watched, 'inference');
    const running = engine.classify({ texts: ['idiot'] });
    await until(() => watched.sources.computed === 1);
    const late = engine.classify({ texts: ['kind', 'lovely'], timeoutMs: 30 });
    await assert.rejects(late, hasCode('deadline_exceeded', 0));
    assert.equal(watched.late(), 2);
    assert.equal(watched.depth(), 0);
    resume();
    await running;
  });

  test('what cannot make it any more costs no inference', async (t) => {
    const watched = await startEngine(t, { workers: 1 });
    const { engine, batches } = watched;
    await engine.classify({ texts: ['idiot'] });
    const before = batches.length;
    // Less than a run has ever taken.
    await assert.rejects(engine.classify({ texts: ['you are kind'], timeoutMs: 0 }), hasCode('deadline_exceeded', 0));
    await engine.classify({ texts: ['kind'] });
    assert.equal(batches.length, before + 1);
  });

  test('texts that fail alone are answered as far as time allows', async (t) => {
    const watched = await startEngine(t, { workers: 1, batchWindows: 1 });
    const { engine, batches } = watched;
    let resume = () => {};
    watched.taken = () => {
      if (batches.length === 2) resume = pause(watched, 'inference');
    };
    const { results } = await engine.classifyEach({ texts: WORDS.slice(0, 8), timeoutMs: 400 });
    resume();
    const outcomes = results.map(outcomeOf);
    assert.equal(outcomes.length, 8);
    assert.ok(outcomes.includes('answered') && outcomes.includes('deadline_exceeded'), outcomes.join());
  });

  test('while texts wait for a hanging tokenizer, too', async (t) => {
    const watched = await startEngine(t, { workers: 1 });
    const resume = pause(watched, 'tokenizer');
    await assert.rejects(watched.engine.classify({ texts: ['kind'], timeoutMs: 30 }), hasCode('deadline_exceeded', 0));
    resume();
    assert.equal((await watched.engine.classify({ texts: ['kind'] })).results.length, 1);
  });
});

describe('texts at fault', () => {
  test('fail a request before inference is spent on it, or fail alone', async (t) => {
    const { engine, batches } = await startEngine(t);
    const texts = ['kind', '!!!', 'a\ud800', 'idiot'];
    await assert.rejects(engine.classify({ texts }), hasCode('empty_after_normalization', 1));
    assert.equal(batches.length, 0);
    const { results } = await engine.classifyEach({ texts });
    assert.deepEqual(results.map(outcomeOf), ['answered', 'empty_after_normalization', 'invalid_unicode', 'answered']);
    assert.deepEqual(
      results.map((outcome) => (outcome instanceof EngineError ? outcome.index : undefined)),
      [undefined, 1, 2, undefined],
    );
  });

  test('two deaths put a text into quarantine, and its neighbours are answered', async (t) => {
    const watched = await startEngine(t, { workers: 1 });
    const { engine, batches, quarantined, refusals } = watched;
    const resume = pause(watched, 'inference');
    const running = engine.classify({ texts: ['what'] });
    await until(() => watched.sources.computed === 1);
    // Told of each window: three in a batch, then the first of them alone, which is the poison.
    let taken = 0;
    watched.taken = () => {
      taken++;
      if (taken === 3 || taken === 4) kill(watched, 'inference');
    };
    const together = engine.classifyEach({ texts: ['you idiot', 'you kind', 'you fool'] });
    await until(() => watched.depth() === 3);
    resume();
    await running;
    assert.deepEqual((await together).results.map(outcomeOf), ['inference_failed', 'answered', 'answered']);
    assert.equal(quarantined.length, 1);
    assert.match(quarantined[0] as string, /^[0-9a-f]{64}$/);

    const before = batches.length;
    await assert.rejects(engine.classify({ texts: ['kind', 'You idiot!'] }), hasCode('quarantined', 1));
    const { results } = await engine.classifyEach({ texts: ['you idiot', 'you kind'] });
    assert.deepEqual(results.map(outcomeOf), ['quarantined', 'answered']);
    assert.deepEqual(refusals, [
      { priority: 'interactive', reason: 'quarantined' },
      { priority: 'interactive', reason: 'quarantined' },
    ]);
    assert.ok(batches.length > before);
  });

  test('a process that dies takes nothing along that it had only at hand', async (t) => {
    // Batches of four windows at most; two of them are ready when sixteen wait.
    const watched = await startEngine(t, { workers: 1, batchWindows: 4, batchTokens: 32 });
    const { engine, batches, quarantined } = watched;
    const resume = pause(watched, 'inference');
    const running = engine.classify({ texts: ['what'] });
    await until(() => watched.sources.computed === 1);
    const texts = WORDS.slice(0, 20).map((word) => `see ${word}`);
    const together = engine.classify({ texts });
    // One batch of them waits in the process already.
    await until(() => watched.depth() === 16);
    kill(watched, 'inference');
    resume();
    assert.equal((await together).results.length, 20);
    await running;
    assert.deepEqual(
      batches.map(({ windows }) => windows),
      [1, 4, 4, 4, 4, 4],
    );
    assert.deepEqual(quarantined, []);
  });

  test('a death that nobody waited for counts when the text comes again', async (t) => {
    const watched = await startEngine(t, { workers: 1, workerTimeoutMs: 200 });
    const { engine, quarantined } = watched;
    for (const attempt of [1, 2]) {
      const resume = pause(watched, 'inference');
      await assert.rejects(engine.classify({ texts: ['idiot'], timeoutMs: 50 }), hasCode('deadline_exceeded', 0));
      await until(() => watched.deaths.length === attempt);
      resume();
      await until(() => engine.ready());
    }
    assert.equal(quarantined.length, 1);
    await assert.rejects(engine.classify({ texts: ['idiot'] }), hasCode('quarantined', 0));
  });

  test('a text that ends the tokenizer twice is refused, and its neighbours are tokenised', async (t) => {
    const watched = await startEngine(t, { workers: 1 });
    const { engine, quarantined } = watched;
    const asked: Promise<unknown>[] = [];
    for (const attempt of [1, 2]) {
      await until(() => engine.ready());
      const [pid] = watched.pids('tokenizer');
      process.kill(pid as number, 'SIGSTOP');
      // The client leaves before its text is tried again, so each death is the only one of its request.
      const client = new AbortController();
      asked.push(engine.classify({ texts: ['you idiot'], signal: client.signal }).catch(() => {}));
      await new Promise((resolve) => setTimeout(resolve, 20));
      client.abort(new Error('gone'));
      process.kill(pid as number, 'SIGKILL');
      await until(() => watched.deaths.length === attempt);
    }
    await Promise.all(asked);
    assert.equal(quarantined.length, 1);
    const { results } = await engine.classifyEach({ texts: ['you idiot', 'you kind'] });
    assert.deepEqual(results.map(outcomeOf), ['quarantined', 'answered']);
  });
});

describe('priorities', () => {
  test('interactive texts overtake bulk ones that wait', async (t) => {
    const watched = await startEngine(t, { workers: 1, batchWindows: 4 });
    const { engine } = watched;
    const resume = pause(watched, 'inference');
    const running = engine.classify({ texts: ['idiot'] });
    await until(() => watched.sources.computed === 1);
    const order: string[] = [];
    const texts = WORDS.slice(0, 16).map((word) => `see ${word}`);
    const bulk = engine.classify({ texts, priority: 'bulk' }).then(() => order.push('bulk'));
    await until(() => watched.depth() === 16);
    const interactive = engine.classify({ texts: ['you kind'] }).then(() => order.push('interactive'));
    await until(() => watched.depth() === 17);
    resume();
    await Promise.all([bulk, interactive, running]);
    assert.deepEqual(order, ['interactive', 'bulk']);
  });

  test('an interactive text does not wait for its equal that is bulk', async (t) => {
    const watched = await startEngine(t, { workers: 1, batchWindows: 1 });
    const { engine, sources } = watched;
    const resume = pause(watched, 'inference');
    const running = engine.classify({ texts: ['idiot'] });
    await until(() => sources.computed === 1);
    const bulk = engine.classify({ texts: ['you kind'], priority: 'bulk' });
    await until(() => watched.depth() === 1);
    const both = [engine.classify({ texts: ['you kind'] }), engine.classify({ texts: ['you kind'], priority: 'bulk' })];
    await until(() => sources.computed + sources.shared === 4);
    assert.deepEqual(sources, { computed: 3, shared: 1, cached: 0 });
    resume();
    for (const { results } of await Promise.all([...both, bulk, running])) assert.equal(results.length, 1);
  });
});

test('clients that hang up, at any moment, leave nothing behind', async (t) => {
  const watched = await startEngine(t, { queueWaitMs: 60_000, queueWindows: 100_000 });
  const { engine } = watched;
  let answered = 0;
  let gone = 0;
  const requests = Array.from({ length: 2_000 }, async (_, i) => {
    const client = new AbortController();
    setTimeout(() => client.abort(new Error('gone')), (i * 7) % 120);
    const texts = [`${WORDS[i % 21]} ${WORDS[i % 17]}`, `${WORDS[i % 13]} ${WORDS[i % 11]} ${WORDS[i % 7]}`];
    try {
      await engine.classify({ texts, signal: client.signal });
      answered++;
    } catch (error) {
      assert.equal((error as Error).message, 'gone');
      gone++;
    }
  });
  await Promise.all(requests);
  assert.equal(answered + gone, 2_000);
  assert.ok(gone > 0);
  assert.equal(watched.depth(), 0);
  assert.equal((await engine.classify({ texts: ['kind'] })).results.length, 1);
  assert.equal(watched.depth(), 0);
});

test('short texts are taken on while a long one is being tokenised', async (t) => {
  const watched = await startEngine(t, { queueWaitMs: 50, queueTokens: 10_000_000 });
  const { engine } = watched;
  for (const word of WORDS) await engine.classify({ texts: [word] });
  const long = engine.classify({ texts: ['kind '.repeat(20_000)] });
  for (const word of WORDS) assert.equal((await engine.classify({ texts: [`see ${word}`] })).results.length, 1);
  assert.ok(((await long).results[0]?.windows.length ?? 0) > 1_000);
  assert.deepEqual(watched.refusals, []);
});

test('a full queue refuses with the time that it needs, and costs nothing', async (t) => {
  const watched = await startEngine(t, { workers: 1, queueWaitMs: 5, batchWindows: 1 });
  const { engine, refusals, sources } = watched;
  for (const word of WORDS) await engine.classify({ texts: [word] });
  const resume = pause(watched, 'inference');
  const pairs = WORDS.flatMap((one) => WORDS.map((other) => `${one} ${other}`));
  const filling = engine.classify({ texts: pairs.slice(0, 200) });
  await until(() => sources.computed === WORDS.length + 200);
  await assert.rejects(engine.classify({ texts: ['you'] }), (error: EngineError) => {
    assert.ok((error.retryAfterMs ?? 0) > 5);
    return hasCode('overloaded')(error);
  });
  assert.deepEqual(refusals, [{ priority: 'interactive', reason: 'wait' }]);
  assert.equal(sources.computed, WORDS.length + 200);
  const bulk = engine.classify({ texts: ['you'], priority: 'bulk' });
  resume();
  for (const { results } of await Promise.all([filling, bulk])) assert.ok(results.length > 0);
});
