/** Thrown by a child's role for what it cannot do, with a message that holds no text and may be shown. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
}
