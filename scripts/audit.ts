/**
 * Known weaknesses of what is installed: `npm audit` of what runs in production, `pip-audit` of the locks of Python.
 *
 *     node scripts/audit.ts
 *
 * Ends with 1 for findings: of npm from high severity on, of Python any, since its data has no severities. Data that cannot be
 * reached is said and ends nothing: a closed network is no weakness of the code.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const UV = 'training/.venv/tools/bin/uv';
const PIP_AUDIT = 'pip-audit==2.10.1';
const LOCKS = ['training/requirements.lock'];
const MINUTES = 60_000;

function run(program: string, args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(program, args, { cwd: ROOT, encoding: 'utf8', timeout: 3 * MINUTES, maxBuffer: 1 << 26 });
}

/** @returns the JSON of an answer; undefined when it is none */
function parsed<T>(text: string | null): T | undefined {
  try {
    return JSON.parse(text ?? '') as T;
  } catch {
    return undefined;
  }
}

interface NpmReport {
  readonly vulnerabilities?: Readonly<Record<string, { readonly severity: string; readonly range: string }>>;
}

/** @returns findings; undefined when the data cannot be reached */
function auditNpm(): readonly string[] | undefined {
  const { stdout } = run('npm', ['audit', '--omit=dev', '--json']);
  const { vulnerabilities } = parsed<NpmReport>(stdout) ?? {};
  if (vulnerabilities === undefined) return undefined;
  return Object.entries(vulnerabilities)
    .filter(([, { severity }]) => severity === 'high' || severity === 'critical')
    .map(([name, { severity, range }]) => `${name} ${range}: ${severity}`);
}

interface PipReport {
  readonly dependencies?: readonly {
    readonly name: string;
    readonly version?: string;
    readonly vulns?: readonly { readonly id: string; readonly fix_versions: readonly string[] }[];
  }[];
}

function auditPython(lock: string): readonly string[] | undefined {
  const options = ['--requirement', lock, '--disable-pip', '--progress-spinner=off', '--format=json'];
  const { stdout } = run(UV, ['tool', 'run', PIP_AUDIT, ...options]);
  const { dependencies } = parsed<PipReport>(stdout) ?? {};
  // A package that its data does not know is reported without a version, and without what it would be vulnerable to.
  if (dependencies === undefined || dependencies.every(({ version }) => version === undefined)) return undefined;
  return dependencies.flatMap(({ name, version, vulns = [] }) =>
    vulns.map(({ id, fix_versions: fixed }) => `${name} ${version}: ${id}, repaired in ${fixed.join(', ') || 'none'}`),
  );
}

const audits = [
  ['npm, in production', auditNpm()] as const,
  ...LOCKS.map((lock) => [lock, auditPython(lock)] as const),
];
for (const [what, findings] of audits) {
  if (findings === undefined) console.log(`? ${what}: not checked, since the data about weaknesses cannot be reached`);
  else if (findings.length === 0) console.log(`✔ ${what}: nothing is known against it`);
  else console.log(`✖ ${what}:\n${findings.map((finding) => `  ${finding}`).join('\n')}`);
}
process.exitCode = audits.some(([, findings]) => (findings?.length ?? 0) > 0) ? 1 : 0;
