/** What of a client's own words an error may repeat: what has the form of a name is one, and no text that slipped into its place. */
const NAME = /^[A-Za-z_][A-Za-z0-9_-]{0,39}$/;

export function isSayableName(name: string): boolean {
  return NAME.test(name);
}
