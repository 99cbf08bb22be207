/** Clients that people have for Perspective, pointed at the service. Each is told the address only. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';

import { Discovery } from 'googleapis-common/build/src/discovery.js';

import { MODEL_FOLDERS, type Service, startService } from '../service.ts';
import { sharedService } from '../shared-service.ts';
import { MISSING_PYTHON, runPythonClient } from './python-client.ts';

/** Must not be found in anything that the service prints. */
const KEY = 'AIza-marked-key';
const TEXT = 'You are an idiot. What a lovely day!';

const shared = sharedService();

interface Scores {
  readonly summaryScore: { readonly value: number; readonly type: string };
  readonly spanScores: readonly { readonly begin: number; readonly end: number; readonly score: { value: number } }[];
}
interface Analysis {
  readonly attributeScores: Readonly<Record<string, Scores>>;
  readonly languages: readonly string[];
  readonly clientToken?: string;
}

/** What the native route says of the same text: the score that TOXICITY must have. */
async function offensive(service: Service, text: string): Promise<number> {
  const { results } = (await (await service.classify({ text })).json()) as { results: [{ offensive: number }] };
  return results[0].offensive;
}

function assertNothingLeaked(service: Service): void {
  for (const secret of [KEY, 'idiot']) assert.equal(service.output().includes(secret), false, secret);
}

interface GoogleClient {
  readonly comments: {
    analyze(parameters: object): Promise<{ data: Analysis }>;
    suggestscore(parameters: object): Promise<{ data: object }>;
  };
}

/** What `google.discoverAPI` of the package googleapis does. */
async function googleClient(service: Service): Promise<GoogleClient> {
  const build = await new Discovery({ debug: false, includePrivate: false }).discoverAPI(
    `${service.url}/$discovery/rest?version=v1alpha1`,
  );
  return build({ auth: KEY }, {} as never) as unknown as GoogleClient;
}

async function emptyFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'feedback-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

describe("Google's client for Node.js, built from our discovery document", () => {
  it('gets scores of the comment and of its sentences', async () => {
    const service = shared();
    const client = await googleClient(service);
    const { data } = await client.comments.analyze({
      requestBody: {
        comment: { text: TEXT },
        requestedAttributes: { TOXICITY: { scoreType: 'PROBABILITY' } },
        languages: ['en'],
        spanAnnotations: true,
        doNotStore: true,
        clientToken: 'token-1',
      },
    });
    const { summaryScore, spanScores } = data.attributeScores.TOXICITY ?? assert.fail();
    assert.equal(summaryScore.type, 'PROBABILITY');
    assert.ok(Math.abs(summaryScore.value - (await offensive(service, TEXT))) < 1e-5);
    assert.deepEqual(
      spanScores.map(({ begin, end }) => TEXT.slice(begin, end)),
      ['You are an idiot.', 'What a lovely day!'],
    );
    for (const { begin, end, score } of spanScores) {
      // In a batch of another length, the last of six decimals may differ.
      assert.ok(Math.abs(score.value - (await offensive(service, TEXT.slice(begin, end)))) < 1e-5);
    }
    assert.deepEqual([data.languages, data.clientToken], [['en'], 'token-1']);
    assertNothingLeaked(service);
  });

  it('is told what is wrong as by Perspective', async () => {
    const { comments } = await googleClient(shared());
    const analyze = (requestBody: object) => comments.analyze({ requestBody });
    await assert.rejects(analyze({ comment: { text: TEXT }, requestedAttributes: { THREAT: {} }, languages: ['en'] }), {
      status: 400,
      message: 'Attribute THREAT does not support request languages: en',
    });
    const french = { text: 'Quelle belle journée pour une promenade au parc avec des amis.' };
    await assert.rejects(analyze({ comment: french, requestedAttributes: { TOXICITY: {} } }), {
      status: 400,
      message: 'Attribute TOXICITY does not support request languages: fr',
    });
    await assert.rejects(analyze({ comment: { text: '' }, requestedAttributes: { TOXICITY: {} } }), {
      status: 400,
      message: 'Comment must be non-empty.',
    });
  });

  it('sends suggestions, which are kept', async (t) => {
    const file = join(await emptyFolder(t), 'feedback.jsonl');
    const service = await startService(t, { FEEDBACK_FILE: file, ADMIN_KEY: KEY });
    const { comments } = await googleClient(service);
    const requestBody = {
      comment: { text: TEXT },
      attributeScores: { TOXICITY: { summaryScore: { value: 0 } } },
      communityId: '/forum/movies',
      clientToken: 'comment-1',
    };
    const { data } = await comments.suggestscore({ requestBody });
    assert.deepEqual(data, { clientToken: 'comment-1' });
    const { receivedAt, ...kept } = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
    assert.match(String(receivedAt), /^\d{4}-\d\d-\d\dT/);
    assert.deepEqual(kept, { model: 'tiny@1.0.0', ...requestBody });
    assertNothingLeaked(service);
  });
});

describe('perspective-api-client', () => {
  /** Its address is written into it; all else is its own. */
  function perspectiveClient(url: string) {
    const require = createRequire(import.meta.url);
    const Perspective = require('perspective-api-client') as new (options: {
      apiKey: string;
    }) => { analyze(text: string, options?: object): Promise<Analysis> };
    // The build that the client loads.
    const axios = require('axios') as typeof import('axios').default;
    const redirected = axios.interceptors.request.use((request) => {
      request.url = request.url?.replace('https://commentanalyzer.googleapis.com', url) ?? '';
      return request;
    });
    return { client: new Perspective({ apiKey: KEY }), done: () => axios.interceptors.request.eject(redirected) };
  }

  it('gets scores, and the reason when there are none', async (t) => {
    const service = shared();
    const { client, done } = perspectiveClient(service.url);
    t.after(done);
    const { attributeScores } = await client.analyze(TEXT);
    assert.equal(attributeScores.TOXICITY?.summaryScore.value, await offensive(service, TEXT));
    assert.deepEqual(
      attributeScores.TOXICITY?.spanScores.map(({ begin, end }) => [begin, end]),
      [[0, TEXT.length]],
    );
    await assert.rejects(client.analyze(TEXT, { attributes: ['toxicity', 'unheard_of'] }), {
      name: 'ResponseError',
      message: 'Unknown requested attribute: UNHEARD_OF',
    });
    assertNothingLeaked(service);
  });
});

/** What Coral sends (server/src/core/server/services/perspective): the endpoint is a setting, the operation is appended. */
async function askCoral(endpoint: string, operation: string, body: object): Promise<Response> {
  const url = new URL(endpoint);
  url.pathname = join(url.pathname, `/${operation}`);
  url.searchParams.set('key', KEY);
  return fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
}

describe("Coral's requests", () => {
  it('are answered with the score that Coral reads', async () => {
    const service = shared();
    const answer = await askCoral(`${service.url}/v1alpha1`, 'comments:analyze', {
      comment: { text: TEXT },
      doNotStore: true,
      requestedAttributes: { TOXICITY: {} },
      languages: ['en'],
    });
    assert.equal(answer.status, 200);
    const { attributeScores } = (await answer.json()) as Analysis;
    assert.equal(attributeScores.TOXICITY?.summaryScore.value, await offensive(service, TEXT));
    assertNothingLeaked(service);
  });

  it('of feedback are kept where that is on, and 501 where it is not', async (t) => {
    const file = join(await emptyFolder(t), 'feedback.jsonl');
    const feedback = {
      comment: { text: TEXT },
      context: { entries: [{ text: '{"url":"https://news.example/1","Coral_comment_id":"c1"}' }] },
      attributeScores: { DELETED: { summaryScore: { value: 1 } } },
      languages: ['en'],
      communityId: 'Coral:https://news.example',
      clientToken: 'comment:c1',
    };
    assert.equal((await askCoral(`${shared().url}/v1alpha1/`, 'comments:suggestscore', feedback)).status, 501);
    const on = await startService(t, { FEEDBACK_FILE: file, ADMIN_KEY: KEY });
    for (let count = 0; count < 20; count += 1) {
      const answer = await askCoral(`${on.url}/v1alpha1/`, 'comments:suggestscore', feedback);
      assert.deepEqual(await answer.json(), { clientToken: 'comment:c1', requestedLanguages: ['en'] });
    }
    const lines = (await readFile(file, 'utf8')).split('\n');
    assert.equal(lines.pop(), '');
    assert.equal(lines.length, 20);
    for (const line of lines) assert.deepEqual(JSON.parse(line).attributeScores, feedback.attributeScores);
  });
});

describe("Google's client for Python, built from our discovery document", { skip: MISSING_PYTHON }, () => {
  it('gets scores, errors with details, and sends suggestions', async (t) => {
    const file = join(await emptyFolder(t), 'feedback.jsonl');
    const service = await startService(t, { FEEDBACK_FILE: file, ADMIN_KEY: KEY });
    const found = (await runPythonClient('perspective.py', service.url, { key: KEY, text: TEXT })) as {
      analysis: Analysis;
      refusal: { status: number; reason: string; details: Record<string, unknown>[] };
      suggestion: object;
    };
    const value = found.analysis.attributeScores.TOXICITY?.summaryScore.value ?? Number.NaN;
    assert.ok(Math.abs(value - (await offensive(service, TEXT))) < 1e-5);
    assert.equal(found.analysis.attributeScores.TOXICITY?.spanScores.length, 2);
    assert.equal(found.refusal.status, 400);
    assert.equal(found.refusal.reason, 'Attribute TOXICITY does not support request languages: fr');
    assert.deepEqual(found.refusal.details, [
      {
        '@type': 'type.googleapis.com/google.commentanalyzer.v1alpha1.Error',
        errorType: 'LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE',
        languageNotSupportedByAttributeError: { requestedLanguages: ['fr'], attribute: 'TOXICITY' },
      },
    ]);
    assert.deepEqual(found.suggestion, { clientToken: 'python' });
    assert.equal((await readFile(file, 'utf8')).split('\n').length, 2);
    assertNothingLeaked(service);
  });
});

const shipped = MODEL_FOLDERS.find((folder) => folder.endsWith('models'));

describe('shipped models', { skip: shipped === undefined && 'no models are shipped' }, () => {
  it('answer for the attributes that their manifests map', async (t) => {
    const service = await startService(t, { MODELS_DIR: shipped as string, DEFAULT_MODEL: 'hatexplain-minilm' });
    const ask = async (text: string) => {
      const { data } = await (await googleClient(service)).comments.analyze({
        requestBody: {
          comment: { text },
          languages: ['en'],
          requestedAttributes: { TOXICITY: {}, IDENTITY_ATTACK: {}, INSULT: {} },
        },
      });
      const value = (name: string) => data.attributeScores[name]?.summaryScore.value ?? Number.NaN;
      // Toxic is what is an insult or an attack.
      assert.ok(Math.abs(value('TOXICITY') - value('IDENTITY_ATTACK') - value('INSULT')) < 2e-6);
      return value('TOXICITY');
    };
    const [rude, kind] = [await ask('You are all complete idiots.'), await ask('Have a lovely day, everyone.')];
    assert.ok(rude > kind, `${rude} and ${kind}`);
    assert.equal(rude, await offensive(service, 'You are all complete idiots.'));
  });
});
