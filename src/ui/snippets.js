/** The current request as commands that can be run elsewhere. */
import { h } from './dom.js';
import { keyHeaders } from './key.js';

/** Whether the service needs a key; commands say where it stands, and never what it is. */
const needsKey = () => 'authorization' in keyHeaders();

/** @param {import('./service.js').Body} body */
function curl(body) {
  // Within single quotes a shell reads nothing but the quote itself.
  const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  const key = needsKey() ? '  -H "authorization: Bearer $API_KEY" \\\n' : '';
  return `curl -s ${location.origin}/classify \\\n  -H 'content-type: application/json' \\\n${key}  -d '${json}'`;
}

/** @param {import('./service.js').Body} body */
function typescript(body) {
  const literal = JSON.stringify(body, null, 2)
    .replaceAll('\n', '\n  ')
    .replaceAll('\u2028', '\\u2028')
    .replaceAll('\u2029', '\\u2029');
  return [
    `const response = await fetch('${location.origin}/classify', {`,
    "  method: 'POST',",
    needsKey()
      ? "  headers: { 'content-type': 'application/json', authorization: 'Bearer ' + process.env.API_KEY },"
      : "  headers: { 'content-type': 'application/json' },",
    `  body: JSON.stringify(${literal}),`,
    '});',
    'if (!response.ok) throw new Error((await response.json()).title);',
    'const { results } = await response.json();',
    'console.log(results[0].decision, results[0].offensive);',
  ].join('\n');
}

/** @param {import('./service.js').Body} body */
export function snippets(body) {
  return h(
    'details',
    { class: 'snippets' },
    h('summary', {}, 'This request as code'),
    snippet('curl', curl(body)),
    snippet('TypeScript', typescript(body)),
  );
}

/**
 * @param {string} title
 * @param {string} code
 */
function snippet(title, code) {
  const said = h('span', { role: 'status', class: 'said' });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(code);
      said.textContent = 'Copied';
    } catch {
      said.textContent = 'Not allowed: select the code and copy it';
    }
  };
  return h(
    'div',
    { class: 'snippet' },
    h(
      'div',
      { class: 'snippet-bar' },
      h('h3', {}, title),
      said,
      h('button', { type: 'button', class: 'plain', 'aria-label': `Copy ${title}`, onclick: copy }, 'Copy'),
    ),
    h('pre', { tabindex: '0', role: 'region', 'aria-label': `${title} code` }, h('code', {}, code)),
  );
}
