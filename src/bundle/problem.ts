/**
 * Why a bundle is refused: every problem that was found, so that one round of repair is enough.
 * Problems name files, fields and item numbers, never what a text says.
 */
export class BundleError extends Error {
  override readonly name = 'BundleError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('; '));
    this.problems = problems;
  }
}
