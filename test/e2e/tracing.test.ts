import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import { attributesOf, startReceiver } from './otlp-receiver.ts';
import { startService } from './service.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';
const MARK = 'qzxvmarked';

/** Says at its end how much of the tracing SDK it has loaded; prom-client brings the interface that does nothing. */
const COUNTING = [
  process.execPath,
  '--import',
  `data:text/javascript,import { createRequire } from 'node:module';
   process.on('exit', () => {
     const loaded = Object.keys(createRequire('${import.meta.url}').cache);
     console.log('modules of the SDK: ' + loaded.filter((name) => new RegExp('@opentelemetry/(?!api/)').test(name)).length);
   });`.replaceAll('\n', ' '),
  'src/main.ts',
];

describe('traces', () => {
  it("continue the caller's, with a span for each stage, and hold neither text nor key", async (t) => {
    const receiver = await startReceiver(t);
    const service = await startService(t, {
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_SERVICE_NAME: 'moderation',
      ADMIN_KEY: `${MARK}-admin-key`,
    });
    const answer = await service.classify(
      { texts: [`you are kind ${MARK}`, 'idiot'] },
      {
        headers: {
          'content-type': 'application/json',
          traceparent: `00-${TRACE}-${SPAN}-01`,
          tracestate: `vendor=${MARK}`,
          'x-request-id': 'abc-7',
          'x-api-key': `${MARK}-admin-key`,
        },
      },
    );
    assert.equal(answer.status, 200);
    await answer.json();
    const own = /^00-([\da-f]{32})-([\da-f]{16})-01$/.exec(answer.headers.get('traceresponse') ?? '') ?? assert.fail();
    assert.equal(own[1], TRACE);
    // One of its own, one that fails, and one that is not recorded because its caller does not.
    await (await service.classify({ text: 'you are kind' })).json();
    assert.equal((await service.classify({ text: MARK, [MARK]: MARK })).status, 400);
    const unsampled = { 'content-type': 'application/json', traceparent: `00-${TRACE.replace('4', '5')}-${SPAN}-00` };
    await (await service.classify({ text: 'you are kind' }, { headers: unsampled })).json();
    await fetch(`${service.url}/health/ready`);
    const metrics = await fetch(`${service.url}/metrics`);
    assert.match(metrics.headers.get('content-type') ?? '', /^application\/openmetrics-text/);
    const exposed = await metrics.text();
    assert.match(exposed, /_bucket\{.*route="\/classify".* # \{trace_id="[\da-f]{32}"\}/);
    assert.match(exposed, /# EOF\n$/);
    assert.equal(await service.stop(), 0);

    const spans = receiver.spans();
    const servers = spans.filter(({ name }) => name === 'POST /classify');
    assert.equal(servers.length, 3);
    const server = spans.find(({ spanId }) => spanId === own[2]) ?? assert.fail();
    assert.equal(server.parentSpanId, SPAN);
    assert.deepEqual(attributesOf(server.attributes), {
      'http.request.method': 'POST',
      'http.route': '/classify',
      'http.response.status_code': 200,
      'dslora.request_id': 'abc-7',
      'dslora.model': 'tiny',
      'dslora.texts': 2,
    });
    const stages = spans.filter(({ parentSpanId }) => parentSpanId === server.spanId);
    assert.deepEqual(
      stages.map(({ name }) => name),
      ['admission', 'tokenize', 'queue', 'run'],
    );
    for (const { traceId, startTimeUnixNano: from, endTimeUnixNano: until } of stages) {
      assert.equal(traceId, TRACE);
      assert.ok(BigInt(server.startTimeUnixNano) <= BigInt(from) && BigInt(from) <= BigInt(until));
      assert.ok(BigInt(until) <= BigInt(server.endTimeUnixNano) + 2_000_000n);
    }
    const [, tokenize, , run] = stages.map(({ attributes }) => attributesOf(attributes));
    assert.ok(Number(tokenize?.['dslora.work_ms']) > 0);
    assert.ok(Number(run?.['dslora.work_ms']) > 0);
    const failed = servers.map(({ attributes }) => attributesOf(attributes)).find((one) => one['error.type']);
    assert.deepEqual([failed?.['error.type'], failed?.['http.response.status_code']], ['unknown_option', 400]);
    assert.equal(receiver.resource()['service.name'], 'moderation');
    assert.equal(new Set(spans.map(({ traceId }) => traceId)).size, 3);
    assert.equal(receiver.raw().includes(MARK), false);

    const [line, other] = service.requests();
    assert.equal(line?.traceId, TRACE);
    assert.match(String(other?.traceId), /^[\da-f]{32}$/);
  });

  it('are tried in vain, and said to be, without a collector; answers do not wait for it', async (t) => {
    const env = {
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9',
      OTEL_BSP_SCHEDULE_DELAY: '50',
      OTEL_EXPORTER_OTLP_TIMEOUT: '300',
    };
    const service = await startService(t, env, COUNTING);
    assert.equal((await service.classify({ text: 'you are kind' })).status, 200);
    assert.equal(await service.stop(), 0);
    assert.match(service.output(), /traces cannot be exported/);
    assert.match(service.output(), /^modules of the SDK: [1-9]\d*$/m);
  });

  it('are off by default: nothing of their library is loaded, and the log has the trace of the caller', async (t) => {
    const off = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:9', OTEL_SDK_DISABLED: 'true' };
    const disabled = startService(t, off, COUNTING);
    const service = await startService(t, {}, COUNTING);
    const headers = { 'content-type': 'application/json', traceparent: `00-${TRACE}-${SPAN}-01` };
    const answer = await service.classify({ text: 'you are kind' }, { headers });
    await answer.json();
    assert.equal(answer.headers.get('traceresponse'), null);
    assert.equal(await service.stop(), 0);
    assert.equal(service.requests()[0]?.traceId, TRACE);
    assert.match(service.output(), /^modules of the SDK: 0$/m);
    assert.equal(await (await disabled).stop(), 0);
    assert.match((await disabled).output(), /^modules of the SDK: 0$/m);
  });
});
