/** The playground in a real Chromium, as people use it: with a mouse, with a keyboard alone, on a phone, in the dark. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

import axe from 'axe-core';
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

import { digestOf } from '../../src/api/access/api-key.ts';
import type { WholeResponse } from '../../src/api/classify-response.ts';
import { type Service, startService } from './service.ts';
import { sharedService } from './shared-service.ts';

const MODELS = fileURLToPath(new URL('../../models', import.meta.url));
const POLICIES = fileURLToPath(new URL('../../policies', import.meta.url));
const CHROMIUM =
  process.env.CHROMIUM || spawnSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).stdout.trim();
const skip = CHROMIUM === '' ? 'chromium is not installed' : false;

const FRIENDLY = 'Have a lovely day, everyone.';
const RUDE = 'You are stupid, my friend.';
const MARKUP =
  '<img src=x onerror="document.title=1"><b>stupid</b> \u202e & </textarea><script>document.title=2</script>';

let browser: Browser | undefined;
before(async () => {
  if (!skip) browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
});
after(() => browser?.close());

/** What a browser knows when it is new, and how it shows pages. */
function newContext(options: BrowserContextOptions = {}): Promise<BrowserContext> {
  return (browser ?? assert.fail('no browser')).newContext({ viewport: { width: 1280, height: 900 }, ...options });
}

describe('the playground', { skip }, () => {
  let service: Service;
  /** For pages that ask for nothing special: it has the page's files after the first one. */
  let usual: BrowserContext;
  /** What a page must not do; each test ends with a look at it. */
  const offences: string[] = [];
  const shared = sharedService({ MODELS_DIR: MODELS, POLICIES_DIR: POLICIES });

  before(async () => {
    service = shared();
    usual = await newContext();
  });

  async function open(hash = '', options?: BrowserContextOptions): Promise<Page> {
    offences.length = 0;
    const page = await (options === undefined ? usual : await newContext(options)).newPage();
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') offences.push(message.text());
    });
    page.on('pageerror', ({ message }) => offences.push(message));
    page.on('request', (request) => {
      const { origin, protocol } = new URL(request.url());
      if (protocol !== 'blob:' && origin !== service.url) offences.push(`asked ${origin}`);
    });
    await page.goto(`${service.url}/${hash}`);
    await page.locator('main section:not([hidden]) form, main .zone').first().waitFor();
    return page;
  }

  /** Ends a test: nothing wrong happened, nothing serious is inaccessible, nothing is cut off at the side. */
  async function close(page: Page): Promise<void> {
    assert.deepEqual(offences, []);
    // What is asked anew is dimmed until its answer is there.
    await page.locator('[data-slot][aria-busy]').first().waitFor({ state: 'detached' });
    // Into a world of its own: the page's policy forbids code from elsewhere, also ours.
    const session = await page.context().newCDPSession(page);
    const { frameTree } = await session.send('Page.getFrameTree');
    const { executionContextId: contextId } = await session.send('Page.createIsolatedWorld', {
      frameId: frameTree.frame.id,
    });
    const run = async (expression: string) =>
      (await session.send('Runtime.evaluate', { expression, contextId, awaitPromise: true, returnByValue: true }))
        .result.value;
    await run(axe.source);
    const found = await run(
      "axe.run().then(({ violations }) => violations.filter(({ impact }) => ['serious', 'critical'].includes(impact)).map(({ id, nodes }) => [id, ...nodes.map(({ target }) => target.join(' '))].join(' ')))",
    );
    assert.deepEqual(found, []);
    const { scrollWidth, clientWidth } = (await page.evaluate(
      '({ scrollWidth: document.documentElement.scrollWidth, clientWidth: document.documentElement.clientWidth })',
    )) as { scrollWidth: number; clientWidth: number };
    assert.ok(scrollWidth <= clientWidth, `${scrollWidth} px wide in ${clientWidth}`);
    await page.close();
  }

  it('classifies a text: decision, probabilities, words, gates, and the request as code', async () => {
    const page = await open('#text?model=olid-minilm');
    await page.getByLabel('Text', { exact: true }).fill(RUDE);
    await page.getByRole('button', { name: 'Classify' }).click();
    const result = page.locator('.result');
    await result.waitFor();
    const { results } = (await (await service.classify({ text: RUDE, model: 'olid-minilm' })).json()) as {
      results: { offensive: number; decision: string }[];
    };
    assert.equal(await result.locator('.score').textContent(), results[0]?.offensive.toFixed(3));
    assert.equal((await result.locator('.badge').textContent())?.toLowerCase(), results[0]?.decision);
    assert.deepEqual(await result.locator('mark.raises').allTextContents(), ['stupid']);
    assert.match((await result.locator('.ranked').textContent()) ?? '', /stupid\+0\.\d+more offensive/);
    const heads = await result.locator('.heat').getByRole('columnheader').allTextContents();
    assert.deepEqual(heads, ['Layer', '0', '1', '2', '3', '4', '5']);
    await page.getByText('This request as code').click();
    for (const code of await page.locator('pre').allTextContents())
      assert.ok(code.includes(`${service.url}/classify`) && code.includes(RUDE));
    assert.equal(page.url().includes('stupid'), false);
    assert.deepEqual(await page.evaluate('[localStorage.length, sessionStorage.length, document.cookie]'), [0, 0, '']);
    await close(page);
  });

  it('decides by a policy that names its models, and says what was undone', async () => {
    const page = await open('#text?policy=forum');
    assert.equal(await page.getByLabel('Model', { exact: true }).isDisabled(), true);
    await page.getByLabel('Text', { exact: true }).fill('Yоu аre аll cоmplete idi0ts.');
    await page.getByRole('button', { name: 'Classify' }).click();
    const result = page.locator('.result');
    await result.waitFor();
    assert.match(
      (await result.locator('.reasons').textContent()) ?? '',
      /with disguises undone.*confusables, leetspeak/,
    );
    assert.match((await result.locator('.words').textContent()) ?? '', /Explained as it was sent \(0\.\d+\)/);
    await page.getByLabel('Policy', { exact: true }).selectOption('default');
    assert.equal(await page.getByLabel('Model', { exact: true }).isDisabled(), false);
    await close(page);
  });

  it('draws what each model of a policy says', async () => {
    const page = await open('#text?policy=strict');
    await page.getByLabel('Text', { exact: true }).fill(RUDE);
    await page.getByRole('button', { name: 'Classify' }).click();
    await page.locator('.result').waitFor();
    const body = { text: RUDE, policy: 'strict', gates: 'percentiles' };
    const [result] = ((await (await service.classify(body)).json()) as WholeResponse).results;
    const [other] = result?.otherModels ?? assert.fail('there is no second model');
    assert.match((await page.locator('.score-name').textContent()) ?? '', /^offensive by olid-minilm, /);
    const drawn = page.getByRole('region', { name: `hatexplain-minilm ${other?.model.version}`, exact: true });
    assert.deepEqual(
      await drawn.locator('.meters .meter-value').allTextContents(),
      [...Object.values(other?.probabilities ?? {}), other?.offensive].map((value) => value?.toFixed(3)),
    );
    assert.equal(await drawn.locator('.tick').count(), 0);
    assert.equal(await drawn.getByRole('table').isVisible(), false);
    await drawn.getByText('Gates', { exact: true }).click();
    assert.equal(await drawn.locator('.fact strong').first().textContent(), other?.gates?.mean.toFixed(3));
    assert.equal(await page.getByRole('table').count(), 2);
    await close(page);
  });

  it('opens with a text where the address names no view', async () => {
    const page = await open('#constructor');
    assert.equal(await page.getByLabel('Text', { exact: true }).isVisible(), true);
    await close(page);
  });

  it('shows the windows of a long text and explains the passage that decides', async () => {
    const page = await open('#text?model=olid-minilm');
    await page.getByRole('button', { name: 'Long' }).click();
    await page.locator('.windows li').first().waitFor();
    assert.equal(await page.locator('.windows .deciding').count(), 1);
    assert.ok((await page.locator('mark.raises').allTextContents()).some((word) => word.includes('stupid')));
    await close(page);
  });

  it('takes what a text says for text', async () => {
    const page = await open();
    await page.getByLabel('Text', { exact: true }).fill(MARKUP);
    await page.getByRole('button', { name: 'Classify' }).click();
    await page.locator('.marked').waitFor();
    assert.equal(await page.locator('.marked').textContent(), MARKUP);
    assert.equal(await page.locator('main img, main script, .marked b').count(), 0);
    assert.match(await page.title(), /^Playground/);
    await close(page);
  });

  it('compares two texts, and two models', async () => {
    const page = await open('#compare?model=olid-minilm');
    await page.getByLabel('First text').fill(FRIENDLY);
    await page.getByLabel('Second text').fill(RUDE);
    await page.getByRole('button', { name: 'Compare' }).click();
    await page.locator('.result').nth(1).waitFor();
    const [one, other] = (await page.locator('.result .score').allTextContents()).map(Number);
    assert.ok((one as number) < (other as number));
    await page.getByLabel('Two models').check();
    await page.getByLabel('Text', { exact: true }).fill(RUDE);
    await page.getByRole('button', { name: 'Compare' }).click();
    await page.locator('.result').nth(1).waitFor();
    assert.deepEqual(await page.locator('.side-title').allTextContents(), ['olid-minilm', 'hatexplain-minilm']);
    await close(page);
  });

  it('classifies a CSV and gives it back with the answers; a bad row costs only itself', async () => {
    const page = await open('#file?model=olid-minilm');
    const rows = [
      FRIENDLY,
      RUDE,
      '',
      '=HYPERLINK("x")',
      MARKUP,
      'x'.repeat(20_001),
      ...Array.from({ length: 150 }, (_, i) => `post ${i}`),
    ];
    const csv = ['id,tweet', ...rows.map((text, i) => `${i},"${text.replaceAll('"', '""')}"`)].join('\n');
    await page
      .locator('input[type=file]')
      .setInputFiles({ name: 'posts.csv', mimeType: 'text/csv', buffer: Buffer.from(`\ufeff${csv}`) });
    await page.getByRole('button', { name: `Classify ${rows.length} rows` }).click();
    await page.locator('.progress').getByText(`Done: ${rows.length} of ${rows.length}`).waitFor();
    assert.match(
      (await page.locator('.histogram figcaption').textContent()) ?? '',
      new RegExp(`of ${rows.length - 2} at or above`),
    );
    const download = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Download as CSV' }).click();
    const saved = readFileSync(await (await download).path(), 'utf8').split('\r\n');
    assert.equal(saved.length, rows.length + 2);
    assert.equal(saved[0], '\ufeffid,tweet,label,score,offensive,flagged,decision,gate_mean,error');
    assert.match(saved[2] ?? '', /^1,"You are stupid, my friend\.",OFF,0\.\d+,0\.\d+,true,(review|block),0\.\d+,$/);
    assert.match(saved[3] ?? '', /,empty_after_normalization$/);
    assert.match(saved[4] ?? '', /^3,"'=HYPERLINK\(""x""\)",/);
    assert.match(saved[6] ?? '', /,text_too_long$/);
    // The service refused the row that was too long before the batch was sent again without it.
    assert.deepEqual(
      offences.splice(0).filter((offence) => !offence.includes('400')),
      [],
    );
    await close(page);
  });

  it('stops when a run is cancelled, and keeps what it has', async () => {
    const page = await open('#file?model=olid-minilm');
    const csv = ['text', ...Array.from({ length: 5_000 }, (_, i) => `a post about the weather number ${i}`)].join('\n');
    await page
      .locator('input[type=file]')
      .setInputFiles({ name: 'posts.csv', mimeType: 'text/csv', buffer: Buffer.from(csv) });
    await page.getByRole('button', { name: 'Classify 5,000 rows' }).click();
    await page.locator('.histogram').waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page
      .locator('.progress')
      .getByText(/^Cancelled: [\d,]+ of 5,000$/)
      .waitFor();
    await page.getByRole('button', { name: 'Download as CSV' }).waitFor();
    await close(page);
  });

  it('can be used with a keyboard alone', async () => {
    const page = await open('#text?model=olid-minilm');
    const focused = () =>
      page.evaluate('document.activeElement.textContent.trim() || document.activeElement.tagName') as Promise<string>;
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'Skip to content');
    await page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'TEXTAREA');
    await page.keyboard.type(RUDE);
    await page.keyboard.press('Control+Enter');
    await page.locator('.result').waitFor();
    assert.match((await page.getByRole('status').first().textContent()) ?? '', /Offensive 0\.\d+/);
    for (let presses = 0; (await focused()) !== 'This request as code'; presses += 1) {
      assert.ok(presses < 20, 'the code cannot be reached');
      await page.keyboard.press('Tab');
    }
    await page.keyboard.press('Enter');
    assert.equal(await page.locator('pre').first().isVisible(), true);
    await close(page);
  });

  it('fits a phone, in all views', async () => {
    const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };
    const page = await open('#text?model=hatexplain-minilm', phone);
    await page
      .getByLabel('Text', { exact: true })
      .fill(`${RUDE} ${'w'.repeat(400)} https://example.org/${'x'.repeat(200)}`);
    await page.getByRole('button', { name: 'Classify' }).click();
    await page.locator('.result').waitFor();
    await close(page);
    for (const view of ['#compare', '#file']) await close(await open(view, phone));
  });

  it('is readable in the dark and without motion', async () => {
    const page = await open('#text?model=hatexplain-minilm', { colorScheme: 'dark', reducedMotion: 'reduce' });
    await page.getByRole('button', { name: 'Rude' }).click();
    await page.locator('.result').waitFor();
    const background = (await page.evaluate('getComputedStyle(document.documentElement).backgroundColor')) as string;
    assert.ok(Math.max(...(background.match(/\d+/g) ?? []).map(Number)) < 60, background);
    await close(page);
  });

  it('says what is wrong and what to do', async () => {
    const page = await open();
    await page.getByRole('button', { name: 'Classify' }).click();
    assert.match((await page.locator('.problem').textContent()) ?? '', /There is no text yet.*Type or paste one/);
    await page.goto(`${service.url}/#file`);
    await page
      .locator('input[type=file]')
      .setInputFiles({ name: 'a.csv', mimeType: 'text/csv', buffer: Buffer.from([0xff, 0xfe, 0x41]) });
    await page.locator('.problem').getByText('The file is not UTF-8').waitFor();
    await page
      .locator('input[type=file]')
      .setInputFiles({ name: 'b.csv', mimeType: 'text/csv', buffer: Buffer.from('text\n') });
    await page.locator('.problem').getByText('The file has no rows').waitFor();
    await close(page);
  });
});

describe('the playground of a service that needs keys', { skip }, () => {
  it('asks for one, keeps it in this tab, and shows where it stands but not what it is', async (t) => {
    const key = 'dsl_of-the-playground';
    const service = await startService(t, { API_KEYS: `page=classify:${digestOf(key).toString('hex')}` });
    const context = await newContext();
    const page = await context.newPage();
    await page.goto(service.url);
    await page.getByLabel('This service needs a key').fill('dsl_wrong');
    await page.keyboard.press('Enter');
    await page.getByLabel('This key will not do here').fill(key);
    await page.keyboard.press('Enter');
    await page.locator('main section textarea').first().waitFor();
    // The tab keeps it.
    await page.reload();
    await page.locator('main section textarea').first().fill(FRIENDLY);
    await page.locator('main section form button[type=submit]').first().click();
    await page.locator('.result').first().waitFor();
    assert.match((await page.locator('.snippets').first().textContent()) ?? '', /Bearer \$API_KEY/);
    assert.equal((await page.content()).includes(key), false);
    const other = await context.newPage();
    await other.goto(service.url);
    await other.getByLabel('This service needs a key').waitFor();
    assert.doesNotMatch(service.output(), /dsl_/);
  });
});
