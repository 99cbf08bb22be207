/** What an inference process does: holds one session for each model and runs batches. */
import type { GraphLoaded, Handler, LoadGraph } from './protocol.ts';
import { Refusal } from './refusal.ts';
import { createSession, type Session } from './session.ts';
import { locate } from './stamp.ts';

export function createHandler(): Handler {
  const sessions = new Map<string, Session>();

  async function load(request: LoadGraph): Promise<GraphLoaded> {
    // Asked twice when a process is replaced while a bundle joins.
    if (sessions.has(request.model)) return { choice: 0 };
    const problems: string[] = [];
    for (const [choice, { graph, externalData, executionProvider }] of request.choices.entries()) {
      try {
        const [path = ''] = await Promise.all([graph, ...externalData].map(locate));
        const { threads, cudaDevice, padId, labels, gates } = request;
        const session = await createSession({
          graph: path,
          executionProvider,
          threads,
          cudaDevice,
          padId,
          labels,
          gates,
        });
        sessions.set(request.model, session);
        return { choice };
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        problems.push(error.message);
      }
    }
    throw new Refusal(problems.join('; '));
  }

  async function unload(model: string): Promise<Record<string, never>> {
    await sessions.get(model)?.release();
    sessions.delete(model);
    return {};
  }

  return (request) => {
    if (request.type === 'load-graph') return load(request);
    if (request.type === 'unload-graph') return unload(request.model);
    if (request.type !== 'run') throw new Refusal(`an inference process cannot ${request.type}`);
    const session = sessions.get(request.model);
    if (session === undefined) throw new Refusal(`no graph is loaded for ${request.model}`);
    return session.run(request);
  };
}
