/**
 * Posts from standard input, one a line; prints those that a moderator should see, with the reason.
 *
 *     node examples/moderate.ts http://localhost:8080 < posts.txt
 */
import { createInterface } from 'node:readline';

// Elsewhere: from 'ds-lora-client'.
import { createClient, ServiceError } from '../src/index.ts';

const [baseUrl = 'http://localhost:8080'] = process.argv.slice(2);
const client = createClient({ baseUrl, retry: { totalMs: 30_000 } });
const posts: string[] = [];
for await (const line of createInterface({ input: process.stdin })) if (line.trim() !== '') posts.push(line);

try {
  const { results } = await client.classify({ texts: posts, threshold: 'high-recall', gates: 'mean', onError: 'item' });
  for (const [index, result] of results.entries()) {
    if ('error' in result) console.log(`${index + 1}\tunread\t${result.error.code}`);
    else if (result.flagged) console.log(`${index + 1}\t${result.label}\t${result.offensive}`);
  }
} catch (error) {
  if (!(error instanceof ServiceError)) throw error;
  console.error(`${error.status} ${error.problem?.code ?? ''}: ${error.message}`);
  process.exitCode = 1;
}
