/** What is the user's to put right. The message says what was wrong, what was expected and what to do. */
export class ReplayError extends Error {
  override readonly name = 'ReplayError';
}
