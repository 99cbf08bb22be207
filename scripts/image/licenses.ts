/**
 * The licence of every production dependency, and whether each is one that we may ship.
 *
 *     npm run licenses              a table, as Markdown
 *     npm run licenses -- --check   only what is not allowed; exit 1 when there is any
 */
import { type LockedPackage, productionPackages, readLock } from './packages.ts';

/** Permissive licences, which ask for no more than their notice. SPDX identifiers. */
const ALLOWED = new Set([
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'CC0-1.0',
  'ISC',
  'MIT',
]);

/** Packages with another licence -> why they are there all the same. */
const EXCEPTIONS: readonly (readonly [name: RegExp, reason: string])[] = [
  [
    /^@img\/sharp-/,
    'libvips (LGPL-3.0-or-later) as a shared library that anyone can replace; npm installs it with ' +
      '@huggingface/transformers, images do not have it',
  ],
];

/** `MIT`, `A OR B` (one must be allowed), `A AND B` (all must be); a nested expression counts as not allowed. */
export function isAllowed(expression: string | undefined): boolean {
  const plain = expression?.replace(/^\((.*)\)$/, '$1') ?? '';
  if (/ OR /.test(plain) && / AND /.test(plain)) return false;
  const alternatives = plain.split(' OR ');
  return alternatives.some((alternative) => alternative.split(' AND ').every((id) => ALLOWED.has(id)));
}

export function exceptionFor({ name }: Pick<LockedPackage, 'name'>): string | undefined {
  return EXCEPTIONS.find(([pattern]) => pattern.test(name))?.[1];
}

/** One line for each package whose licence needs a decision. */
export function licenseProblems(packages: readonly LockedPackage[]): readonly string[] {
  return packages
    .filter((found) => !isAllowed(found.license) && exceptionFor(found) === undefined)
    .map(
      ({ name, version, license }) =>
        `${name}@${version} has the licence ${license ?? '(none stated)'}, which is not among those allowed: ` +
        'read it, then use another package, or add the licence or an exception with its reason to scripts/image/licenses.ts.',
    );
}

/** A Markdown table, one row a package. */
export function licenseTable(packages: readonly LockedPackage[]): string {
  const rows = packages.map((found) => {
    const { name, version, license } = found;
    return `| ${name} | ${version} | ${license ?? '(none stated)'} | ${isAllowed(license) ? '' : (exceptionFor(found) ?? 'not allowed')} |`;
  });
  return ['| package | version | licence | exception |', '|---|---|---|---|', ...rows, ''].join('\n');
}

if (import.meta.main) {
  const packages = productionPackages(await readLock());
  const problems = licenseProblems(packages);
  if (process.argv.includes('--check')) for (const problem of problems) console.error(problem);
  else process.stdout.write(licenseTable(packages));
  process.exitCode = problems.length > 0 ? 1 : 0;
}
