/**
 * Makes a key: prints it, and the entry for API_KEYS_FILE or API_KEYS that stands for it.
 *
 *     npm run key -- NAME [SCOPE …]     scopes: classify (the default), admin, metrics
 *
 * The key is shown this once: the service keeps its SHA-256 only.
 */
import { digestOf, formatEntry, generateKey, parseEntry, SCOPES } from '../api/access/api-key.ts';

const [name = '', ...given] = process.argv.slice(2);
const scopes = given.length === 0 ? ['classify'] : given;
const key = generateKey();
const entry = `${name}=${scopes.join('+')}:${digestOf(key).toString('hex')}`;
const read = parseEntry(entry);
if (typeof read === 'string') {
  process.stderr.write(
    `Usage: npm run key -- NAME [SCOPE …]\nNAME has letters, digits, dots, dashes and underscores; each SCOPE is one of ${SCOPES.join(', ')}.\n`,
  );
  process.exitCode = 2;
} else {
  // The entry alone goes to standard output, so that `>> keys` appends it.
  process.stderr.write(`Key of ${read.name}, shown only now:\n${key}\nEntry for API_KEYS_FILE:\n`);
  process.stdout.write(`${formatEntry(read)}\n`);
}
