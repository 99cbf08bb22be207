/** What a person reads when the service has started. */
import type { Engine } from './engine/types.ts';

/** @param address as the listener has it */
export function announce(
  engine: Engine,
  { scheme, host, port }: { scheme: 'http' | 'https'; host: string; port: number },
): string {
  const url = `${scheme}://${reachable(host)}:${port}`;
  const standard = engine.defaultModel();
  const served = engine
    .models()
    .map(
      (model) =>
        `  ${model.name} ${model.version} (${precision(model)}${model.executionProvider})${model === standard ? ', default' : ''}`,
    );
  const refused = engine.refused().map(({ folder, reason }) => `  ${folder}: ${reason}`);
  return [
    `Listening on ${url} (host ${host}). Models:`,
    ...served,
    ...(refused.length > 0 ? ['Refused bundles:', ...refused] : []),
    'Try it:',
    `  curl -s ${url}/classify -H 'content-type: application/json' -d '{"text": "Have a lovely day, everyone."}'`,
    '',
  ].join('\n');
}

function precision({ manifest, graph }: ReturnType<Engine['models']>[number]): string {
  const found = manifest.graphs.find(({ file }) => file === graph);
  return found === undefined ? '' : `${found.precision}, `;
}

/** An address that listens on everything is no address to call. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}
