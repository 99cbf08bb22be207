/** Drift of the shipped model on real texts, through the running service: what docs/drift.md says. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { germEvalTexts } from '../../bench/labelled.ts';
import { olidTestTexts } from '../../bench/olid.ts';
import { folderWith, startService } from './service.ts';

const MODEL = 'olid-minilm';
/** As DRIFT_MIN_TEXTS has it by default. */
const TEXTS = 500;
const CHUNK = 50;
const { DSLORA_DATA_DIR: dataDir } = process.env;
const skip = dataDir === undefined && 'DSLORA_DATA_DIR does not name the data sets';

describe('drift', () => {
  it("is quiet on OLID's test tweets and loud on German ones, with scores and with gates", { skip }, async (t) => {
    const service = await startService(t, {
      MODELS_DIR: await folderWith(t, MODEL),
      DRIFT_WINDOW_TEXTS: String(TEXTS),
      ANSWER_TIMEOUT_MS: '120000',
    });
    const indexes = async (texts: readonly string[]) => {
      for (let from = 0; from < TEXTS; from += CHUNK) {
        const body = { texts: texts.slice(from, from + CHUNK), model: MODEL, priority: 'bulk', onError: 'item' };
        const answer = await service.classify(body);
        assert.equal(answer.status, 200);
        await answer.arrayBuffer();
      }
      const exposed = await (await fetch(`${service.url}/metrics`)).text();
      const all = (of: string) =>
        [...exposed.matchAll(new RegExp(`^dslora_drift_${of}_psi\\{model="${MODEL}".*\\} (\\S+)$`, 'gm'))].map(
          ([, value]) => Number(value),
        );
      const gates = all('gate');
      return { score: Math.max(...all('probability')), gates: gates.reduce((sum, one) => sum + one, 0) / gates.length };
    };
    const spread = (texts: readonly string[]) => {
      const step = texts.length / TEXTS;
      return Array.from({ length: TEXTS }, (_, k) => texts[Math.floor(k * step)] as string);
    };
    const quiet = await indexes(spread(olidTestTexts(dataDir as string)));
    // The window holds as many texts, so nothing is left of the others.
    const loud = await indexes(spread(germEvalTexts(dataDir as string)));
    t.diagnostic(JSON.stringify({ quiet, loud }));
    assert.ok(quiet.score < 0.25 && quiet.gates < 0.5);
    assert.ok(loud.score > 0.5 && loud.gates > 1);
  });
});
