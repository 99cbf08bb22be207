import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import type { Golden } from '../../src/bundle/golden.ts';
import { createInferenceProcess } from '../../src/engine/inference-process.ts';
import type { LoadGraph } from '../../src/engine/protocol.ts';
import type { Classification, EngineError } from '../../src/engine/types.ts';
import { copyTiny, editGolden, modelsFolder, restate, set, TINY } from '../fixtures/bundle-copy.ts';
import { isRunning, startEngine, until, type WatchedEngine } from '../fixtures/tiny-engine.ts';

const golden = JSON.parse(await readFile(join(TINY, 'golden.json'), 'utf8')) as Golden;
const answered = golden.items.flatMap((item) => ('error' in item ? [] : [item]));

const hasCode = (code: string, index?: number) => (error: EngineError) => {
  assert.equal(error.code, code, error.stack);
  assert.equal(error.index, index);
  return true;
};

function assertClose(got: readonly number[], expected: readonly number[]): void {
  assert.equal(got.length, expected.length);
  for (const [i, value] of got.entries()) assert.ok(Math.abs(value - (expected[i] as number)) < 1e-5);
}

/** Each is a token of the tiny tokenizer. */
const WORDS = 'you are kind an idiot what a lovely day fool stop it see and'.split(' ');

/** Words of 99 letters that are no words are the most expensive kind of text for WordPiece. */
const HOSTILE = `${'qxz'.repeat(33)} `.repeat(1_000);

describe('one engine', () => {
  const cleanups: (() => unknown)[] = [];
  let watched: WatchedEngine;
  before(async () => {
    // What long texts may cost is not what these tests are about.
    const after = (cleanup: unknown) => void cleanups.push(cleanup as () => unknown);
    watched = await startEngine({ after }, { queueWaitMs: 60_000, queueTokens: 10_000_000, answerTimeoutMs: 60_000 });
  });
  after(async () => {
    for (const cleanup of cleanups) await cleanup();
  });

  test('serves the bundle and says so', () => {
    const { engine } = watched;
    assert.equal(engine.ready(), true);
    assert.deepEqual(engine.refused(), []);
    const [model] = engine.models();
    assert.equal(model, engine.defaultModel());
    assert.equal(model?.name, 'tiny');
    assert.equal(model?.graph, 'model.onnx');
    assert.equal(model?.executionProvider, 'cpu');
  });

  test('answers every golden text as NumPy did, windows and all', async () => {
    const { results } = await watched.engine.classify({ model: 'tiny', texts: answered.map(({ text }) => text) });
    for (const [i, item] of answered.entries()) {
      const result = results[i];
      assert.ok(result);
      assertClose(result.probabilities, item.combined.probabilities);
      assertClose(result.gates, item.combined.gates);
      assert.deepEqual(
        result.windows.map(({ tokens }) => tokens),
        item.windows.map(({ ids }) => ids.length),
      );
      for (const [w, window] of item.windows.entries())
        assertClose(result.windows[w]?.probabilities ?? [], window.probabilities);
    }
  });

  test('a text counts each real token once', async () => {
    const { results } = await watched.engine.classify({ texts: ['idiot '.repeat(40)] });
    assert.equal(results[0]?.tokens, 42);
    assert.ok((results[0]?.windows.length ?? 0) > 1);
  });

  test('texts of different requests share batches, and an answer does not depend on it', async () => {
    const { engine, batches } = watched;
    const texts = Array.from({ length: 200 }, (_, i) => [i % 7, i % 11, i % 13].map((n) => WORDS[n]).join(' '));
    const alone: Classification[] = [];
    for (const text of texts) alone.push(await engine.classify({ texts: [text] }));
    const before = batches.length;
    const asked = () => watched.sources.computed + watched.sources.shared;
    const askedBefore = asked();
    // All arrive while nothing runs, so that they meet.
    for (const pid of watched.pids('inference')) process.kill(pid, 'SIGSTOP');
    const requests = texts.map((text) => engine.classify({ texts: [text] }));
    await until(() => asked() - askedBefore === texts.length);
    for (const pid of watched.pids('inference')) process.kill(pid, 'SIGCONT');
    const together = await Promise.all(requests);
    for (const [i, { results }] of together.entries())
      assertClose(results[0]?.probabilities ?? [], alone[i]?.results[0]?.probabilities ?? []);
    const own = batches.slice(before);
    assert.ok(own.some(({ windows }) => windows > 4));
    for (const { windows, tokens, paddedTokens } of own)
      assert.ok(windows === 1 || (paddedTokens <= 192 && tokens <= paddedTokens));
  });

  test('no texts, no results', async () => {
    assert.deepEqual((await watched.engine.classify({ texts: [] })).results, []);
  });

  test('reports time in milliseconds', async () => {
    const { timing } = await watched.engine.classify({ texts: ['you are kind', 'idiot'] });
    for (const value of Object.values(timing)) assert.ok(value >= 0 && value < 1_000);
    assert.ok(timing.inferenceMs > 0 && timing.tokenizeMs > 0);
  });

  test('refuses a request for its first text at fault', async () => {
    const { engine } = watched;
    await assert.rejects(
      engine.classify({ texts: ['kind', '!!!', 'a\ud800'] }),
      hasCode('empty_after_normalization', 1),
    );
    await assert.rejects(engine.classify({ texts: ['kind', 'a\ud800', '!!!'] }), hasCode('invalid_unicode', 1));
    await assert.rejects(engine.classify({ model: 'nobody', texts: ['kind'] }), hasCode('unknown_model'));
  });

  test('a text that the graph fails on fails alone', async () => {
    const { engine, deaths } = watched;
    const neighbours = Array.from({ length: 50 }, () => engine.classify({ texts: ['you are kind'] }));
    const failing = engine.classify({ texts: ['you are zzz', 'kind'] });
    await assert.rejects(failing, (error: EngineError) => {
      assert.doesNotMatch(error.message, /zzz|kind/);
      return hasCode('inference_failed', 0)(error);
    });
    for (const { results } of await Promise.all(neighbours)) assert.equal(results.length, 1);
    assert.deepEqual(deaths, []);
  });

  test('texts that take long to tokenise do not hold up others', async () => {
    const { engine } = watched;
    // The process for long texts starts with the first of them.
    await engine.classify({ texts: ['you '.repeat(1_000)] });
    const started = performance.now();
    let hostileDone = 0;
    const hostile = [' '.repeat(100_000), 'a\u0301\u0327'.repeat(25_000), 'a'.repeat(50_000), HOSTILE, HOSTILE].map(
      (text) =>
        engine
          .classify({ texts: [text] })
          .catch(() => {})
          .then(() => {
            hostileDone = performance.now() - started;
          }),
    );
    const waits: number[] = [];
    while (waits.length < 20) {
      const from = performance.now();
      await engine.classify({ texts: ['you are kind'] });
      waits.push(performance.now() - from);
    }
    const shortDone = performance.now() - started;
    await Promise.all(hostile);
    waits.sort((a, b) => a - b);
    assert.ok((waits[10] as number) < 50, `median wait ${waits[10]} ms`);
    assert.ok(shortDone < hostileDone, `short ones after ${shortDone} ms, long ones after ${hostileDone} ms`);
  });

  test('an aborted request is rejected with the reason', async () => {
    const reason = new Error('gone');
    await assert.rejects(watched.engine.classify({ texts: ['kind'], signal: AbortSignal.abort(reason) }), reason);
    const controller = new AbortController();
    const pending = watched.engine.classify({ texts: ['kind'], signal: controller.signal });
    controller.abort(reason);
    await assert.rejects(pending, reason);
  });
});

/** Keeps `parallel` requests in flight until `stop`; every one must be answered rightly. */
function load({ engine }: WatchedEngine, parallel: number) {
  let stopped = false;
  let count = 0;
  const item = answered[1] as (typeof answered)[number];
  const streams = Array.from({ length: parallel }, async () => {
    while (!stopped) {
      const { results } = await engine.classify({ texts: [item.text, 'you are kind'] });
      assertClose(results[0]?.probabilities ?? [], item.combined.probabilities);
      count++;
    }
  });
  return {
    answered: () => count,
    async stop() {
      stopped = true;
      await Promise.all(streams);
    },
  };
}

describe('processes die', () => {
  test('a killed inference process costs no request', async (t) => {
    const watched = await startEngine(t);
    const traffic = load(watched, 64);
    for (let kill = 0; kill < 4; kill++) {
      await until(() => watched.pids('inference').length === 2);
      const before = traffic.answered();
      await until(() => traffic.answered() > before + 100);
      process.kill(watched.pids('inference')[kill % 2] as number, kill % 2 === 0 ? 'SIGKILL' : 'SIGABRT');
      await until(() => watched.deaths.length === kill + 1);
    }
    await traffic.stop();
    assert.ok(traffic.answered() > 400);
    await until(() => watched.engine.ready());
  });

  test('a killed tokenizer process costs no request', async (t) => {
    const watched = await startEngine(t);
    const traffic = load(watched, 64);
    await until(() => traffic.answered() > 100);
    process.kill(watched.pids('tokenizer')[0] as number, 'SIGKILL');
    await until(() => watched.deaths.length === 1);
    const before = traffic.answered();
    await until(() => traffic.answered() > before + 100);
    await traffic.stop();
  });

  test('a hanging process is killed and replaced, and its windows run elsewhere', async (t) => {
    const watched = await startEngine(t, { workerTimeoutMs: 300 });
    const traffic = load(watched, 16);
    await until(() => traffic.answered() > 50);
    const [pid] = watched.pids('inference');
    process.kill(pid as number, 'SIGSTOP');
    await until(() => watched.deaths.length === 1);
    assert.deepEqual(watched.deaths, [{ role: 'inference', signal: 'SIGKILL' }]);
    assert.equal(isRunning(pid as number), false);
    await until(() => watched.pids('inference').length === 2);
    await traffic.stop();
  });

  test('a text whose process dies twice is given up; its neighbours are not', async (t) => {
    const watched = await startEngine(t, { workers: 1 });
    const { engine } = watched;
    const taken = { batches: 0 };
    watched.taken = () => {
      taken.batches++;
      if (taken.batches <= 2) process.kill(watched.pids('inference')[0] as number, 'SIGKILL');
    };
    await assert.rejects(engine.classify({ texts: ['you are kind'] }), hasCode('inference_failed', 0));
    assert.equal(taken.batches, 2);

    taken.batches = 1;
    assert.equal((await engine.classify({ texts: ['you are an idiot'] })).results.length, 1);
    assert.equal(taken.batches, 3);
  });

  test('when no process starts any more, nothing waits for ever', async (t) => {
    const watched = await startEngine(t, { workers: 1 });
    watched.replaced = (_role, pid) => process.kill(pid, 'SIGKILL');
    process.kill(watched.pids('inference')[0] as number, 'SIGKILL');
    await assert.rejects(watched.engine.classify({ texts: ['you are kind'] }), hasCode('inference_failed', 0));
    assert.equal(watched.engine.ready(), false);
    watched.replaced = () => {};
    await until(() => watched.engine.ready());
    await watched.engine.classify({ texts: ['you are kind'] });
  });

  test('a process that takes too long to load is killed and replaced, and nothing waits for it for ever', async (t) => {
    const deaths: (string | null)[] = [];
    const shape = { padId: 0, maxTokens: 8, labels: 2, gates: 0 };
    const spec: LoadGraph = { type: 'load-graph', model: 'm', choices: [], threads: 1, cudaDevice: 0, ...shape };
    const inference = createInferenceProcess({
      timeoutMs: 60_000,
      // Before any program has begun.
      loadTimeoutMs: 1,
      watch: { started: () => {}, exited: ({ signal }) => void deaths.push(signal) },
      specs: () => [spec],
      unloadable: () => assert.fail('it was not even asked'),
      prepared: () => {},
      exited: () => {},
    });
    t.after(() => inference.close());
    await inference.whenPrepared();
    assert.deepEqual([inference.givenUp, inference.prepared], [true, false]);
    assert.deepEqual(new Set(deaths), new Set(['SIGKILL']));
  });

  test('children end when the service is killed', async (t) => {
    const program = `
      import { createEngine } from ${JSON.stringify(new URL('../../src/engine/engine.ts', import.meta.url).href)};
      const pids = [];
      const observer = { workerStarted: ({ pid }) => pids.push(pid) };
      await createEngine({ modelsDir: ${JSON.stringify(`${TINY}/..`)}, workers: 2, observer });
      console.log(JSON.stringify(pids));`;
    const parent = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => parent.kill('SIGKILL'));
    const pids = await new Promise<number[]>((resolve) =>
      parent.stdout.once('data', (data) => resolve(JSON.parse(data))),
    );
    assert.equal(pids.length, 3);
    parent.kill('SIGKILL');
    await until(() => !pids.some(isRunning));
  });
});

describe('admission', () => {
  test('beyond the bound requests are overloaded; aborted ones free their place', async (t) => {
    const watched = await startEngine(t, { workers: 1, queueWindows: 8 });
    const { engine } = watched;
    const [pid] = watched.pids('inference');
    process.kill(pid as number, 'SIGSTOP');
    const running = engine.classify({ texts: ['you are kind'] });
    await new Promise((resolve) => setTimeout(resolve, 100));
    const controller = new AbortController();
    const waiting = engine.classify({ texts: WORDS.slice(3, 11), signal: controller.signal });
    await until(() => watched.depth() === 8);
    await assert.rejects(engine.classify({ texts: ['kind'] }), hasCode('overloaded'));
    controller.abort(new Error('gone'));
    await assert.rejects(waiting, /gone/);
    assert.equal(watched.depth(), 0);
    const next = engine.classify({ texts: ['kind'] });
    process.kill(pid as number, 'SIGCONT');
    assert.equal((await running).results.length, 1);
    assert.equal((await next).results.length, 1);
  });

  test('characters that wait for a tokenizer are bounded', async (t) => {
    const { engine } = await startEngine(t, { workers: 1, queueCharacters: 60_000, queueWaitMs: 60_000 });
    const marked = `kind${'\u0301\u0327'.repeat(12_500)}`;
    const hostile = [marked, marked].map((text) => engine.classify({ texts: [text] }));
    await assert.rejects(engine.classify({ texts: [marked] }), hasCode('overloaded'));
    await Promise.all(hostile);
    await engine.classify({ texts: ['kind'] });
  });
});

describe('close', () => {
  test('answers what is in hand, refuses what comes later, and ends the processes', async (t) => {
    const watched = await startEngine(t);
    const pids = [...watched.pids('inference'), ...watched.pids('tokenizer')];
    const inHand = Array.from({ length: 100 }, () => watched.engine.classify({ texts: ['you are kind'] }));
    const closed = watched.engine.close();
    assert.equal(watched.engine.ready(), false);
    await assert.rejects(watched.engine.classify({ texts: ['kind'] }), hasCode('shutting_down'));
    assert.equal((await Promise.all(inHand)).length, 100);
    await closed;
    assert.ok(!pids.some(isRunning));
    assert.deepEqual(watched.deaths, []);
    await watched.engine.close();
  });
});

describe('bundles', () => {
  test('what is wrong only when it runs is refused as well, and the others serve', async (t) => {
    const models = await modelsFolder(t);
    await copyTiny(models, 'good');
    const named = (name: string) => copyTiny(models, name, set('name', name));

    await editGolden(await named('other-scores'), set('items.1.combined.probabilities', [0.5, 0.5]));
    await editGolden(await named('other-text'), set('items.1.normalized', 'SECRET'));
    await editGolden(await named('other-error'), (g) => {
      g.items.unshift({ text: 'SECRET', error: 'empty_after_normalization' });
    });
    // Well-formed, with an operator that nobody knows.
    const noGraph = await named('no-graph');
    const graph = (await readFile(join(noGraph, 'model.onnx'))).toString('latin1');
    await writeFile(join(noGraph, 'model.onnx'), graph.replace('ReduceSum', 'RejoinSum'), 'latin1');
    await restate(noGraph, 'model.onnx');
    const noTokenizer = await named('no-tokenizer');
    await writeFile(join(noTokenizer, 'tokenizer.json'), '{"SECRET": 1}');
    await restate(noTokenizer, 'tokenizer.json');
    // The vectors agree with the manifest; only the graph knows that it has two columns.
    const threeLabels = await copyTiny(models, 'three-labels', (m) => {
      m.name = 'three-labels';
      m.labels.push('MAYBE');
    });
    await editGolden(threeLabels, (g) => {
      for (const { windows = [], combined } of g.items)
        for (const scores of [...windows, combined ?? { probabilities: [] }]) scores.probabilities.push(0);
    });

    const { engine } = await startEngine(t, { modelsDir: models });
    assert.deepEqual(
      engine.models().map(({ name }) => name),
      ['tiny'],
    );
    await engine.classify({ texts: ['kind'] });
    const reasons = Object.fromEntries(engine.refused().map(({ folder, reason }) => [folder, reason]));
    const expected: Record<string, RegExp> = {
      'other-scores': /^golden item 1 alone: the combined answer differs from PyTorch by 0\.\d+ in probabilities/,
      'other-text': /^golden item 1 alone: the text normalises differently from training/,
      'other-error': /^golden item 0 alone: expected empty_after_normalization, got an answer/,
      'no-graph': /onnxruntime cannot load the graph on cpu: /,
      'no-tokenizer': /tokenizer\.json or tokenizer_config\.json is not a tokenizer/,
      'three-labels': /output probabilities is not float32 \[\d+, 3\]/,
    };
    assert.deepEqual(Object.keys(reasons).sort(), Object.keys(expected).sort());
    for (const [folder, pattern] of Object.entries(expected)) {
      assert.match(reasons[folder] as string, pattern);
      assert.doesNotMatch(reasons[folder] as string, /SECRET/);
    }
  });

  test('several models serve side by side, and the default can be named', async (t) => {
    const models = await modelsFolder(t);
    await copyTiny(models, 'one', set('name', 'one'));
    await copyTiny(models, 'two', set('name', 'two'));
    const { engine } = await startEngine(t, { modelsDir: models, defaultModel: 'two' });
    assert.equal(engine.defaultModel()?.name, 'two');
    const answers = await Promise.all(
      ['one', 'two', undefined].map((name) => engine.classify({ model: name, texts: ['you are kind'] })),
    );
    assert.deepEqual(
      answers.map(({ model }) => model.name),
      ['one', 'two', 'two'],
    );
  });

  test('CUDA that is not there: asked for, it is an error; with auto, the CPU serves', async (t) => {
    const models = await modelsFolder(t);
    await copyTiny(models, 'both', (m) => {
      m.name = 'both';
      m.graphs[0].executionProviders = ['cuda', 'cpu'];
    });
    await copyTiny(models, 'cpu-only', set('name', 'cpu-only'));
    const auto = await startEngine(t, { modelsDir: models, workers: 1 });
    const [both] = auto.engine.models();
    if (both?.executionProvider === 'cuda') return t.skip('this machine has CUDA');
    assert.equal(both?.executionProvider, 'cpu');
    const cuda = await startEngine(t, { modelsDir: models, workers: 1, executionProvider: 'cuda' });
    assert.deepEqual(cuda.engine.models(), []);
    assert.equal(cuda.engine.ready(), false);
    assert.match(cuda.engine.refused()[0]?.reason ?? '', /onnxruntime cannot load the graph on cuda: /);
    assert.match(cuda.engine.refused()[1]?.reason ?? '', /no graph lists the execution provider cuda/);
    await assert.rejects(cuda.engine.classify({ texts: ['kind'] }), hasCode('unknown_model'));
  });

  test('a file that changed after it was checked is not loaded by a replacement', async (t) => {
    const models = await modelsFolder(t);
    const folder = await copyTiny(models, 'tiny');
    const watched = await startEngine(t, { modelsDir: models, workers: 2 });
    const graph = await readFile(join(folder, 'model.onnx'));
    await writeFile(join(folder, 'model.onnx'), Buffer.concat([graph, Buffer.from('x')]));
    process.kill(watched.pids('inference')[0] as number, 'SIGKILL');
    await until(() => watched.pids('inference').length === 2);
    for (let i = 0; i < 20; i++) await watched.engine.classify({ texts: ['you are kind'] });
  });

  test('an unreadable models folder is an error, and no process stays', async () => {
    await assert.rejects(startEngine({ after: () => {} }, { modelsDir: '/nowhere/at/all' }), /MODELS_DIR/);
  });
});
