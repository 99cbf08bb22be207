/**
 * Which models are served, and how that changes while they serve.
 *
 * A change is made in steps that may fail without harm: read and verify, try on spare processes, load everywhere. Then
 * one assignment switches: a request sees the state before or after it. What leaves answers what it has in hand, and
 * then processes are renewed without it, so that its memory goes back to the system.
 */
import { basename } from 'node:path';

import { discoverBundles, type RefusedFolder } from '../bundle/discover.ts';
import { bundleFolders } from '../bundle/folders.ts';
import type { Bundle } from '../bundle/load.ts';
import { attempt, isRefused, isRunning, type Model, type Running, reasonOf, specsOf } from './bring-up.ts';
import type { InferencePool } from './inference-pool.ts';
import { inOrder, type References, ReferencesError, referenceProblems, resolve } from './references.ts';
import { createSerial } from './serial.ts';
import { ChildError } from './supervisor.ts';
import type { Tokenizers } from './tokenizers.ts';
import { type GraphMeans, tryBundle } from './trial.ts';
import {
  type BundleOutcome,
  type EngineObserver,
  ModelChangeError,
  type RefusedBundle,
  type ReloadReport,
  type RepositoryEntry,
  type ServedModel,
} from './types.ts';

export interface Models {
  list(): readonly ServedModel[];
  refused(): readonly RefusedBundle[];
  /** The default if the reference is undefined. */
  find(reference: string | undefined): Model | undefined;
  /** Runs `work` while the model stays loaded, whatever is switched to meanwhile. */
  use<R>(model: Model, work: () => Promise<R>): Promise<R>;
  aliases(): ReadonlyMap<string, ServedModel>;
  repository(): readonly RepositoryEntry[];
  reload(): Promise<ReloadReport>;
  load(folder: string): Promise<BundleOutcome>;
  unload(reference: string): Promise<BundleOutcome>;
  /** Waits for a change that is under way, and refuses later ones. */
  close(): Promise<void>;
}

export interface ModelsOptions {
  readonly modelsDir: string;
  readonly references: References;
  readonly tokenizers: Tokenizers;
  readonly pool: InferencePool;
  readonly graphs: GraphMeans;
  readonly batchTokens: number;
  readonly observer: Partial<EngineObserver>;
}

const NO_BUNDLES = 'MODELS_DIR holds no bundle any more';
const LAST_MODEL = 'it is the last model that is served';
const BY_REQUEST = 'unloaded by request';

/**
 * Tries every bundle of a folder and has those that pass served.
 *
 * @throws Error when `modelsDir` cannot be read
 * @throws ReferencesError when some are served and a setting names what is not
 */
export async function createModels(options: ModelsOptions): Promise<Models> {
  const { modelsDir, references, tokenizers, pool, observer } = options;
  let models: readonly Running[] = [];
  let refused: readonly RefusedFolder[] = [];
  /** Identity of what was unloaded by request, by folder. */
  const unloaded = new Map<string, { name: string; version: string }>();
  const inTurn = createSerial();
  let count = 0;
  let waitingReload: Promise<ReloadReport> | undefined;
  let closing = false;

  const find = (reference: string | undefined) => resolve(models, references, reference);

  /** Reports outcomes to the observer, all but the dull. */
  function tell(outcomes: readonly BundleOutcome[]): readonly BundleOutcome[] {
    for (const outcome of outcomes) if (outcome.outcome !== 'unchanged' && !closing) observer.bundle?.(outcome);
    return outcomes;
  }

  /** At start nothing serves yet, so the processes that will serve can be tried on. */
  async function start(): Promise<void> {
    const started = performance.now();
    const found = await discoverBundles(modelsDir);
    observer.trying?.();
    const tried = await Promise.all(
      found.bundles.map(async (bundle) => {
        const specs = specsOf(bundle, ++count, options.graphs);
        const outcome = await attempt(bundle, specs, async (own) => {
          const choice = await pool.trial((worker) => tryBundle(bundle, own, tokenizers, worker, options.batchTokens));
          await pool.serve({ ...own.graph, choices: [choice] });
          return choice;
        });
        if ('reason' in outcome) await bundle.files.close();
        return outcome;
      }),
    );
    models = inOrder(tried.filter(isRunning));
    refused = byFolder([...found.refused, ...tried.filter(isRefused)]);
    const problems = models.length > 0 ? referenceProblems(models, references) : [];
    if (problems.length > 0) {
      const served = models.map(({ served }) => `${served.name}@${served.version}`).join(', ');
      throw new ReferencesError([...problems, `Served are: ${served}`]);
    }
    const bundles = tell(byFolder([...models.map((model) => outcomeOf(model, 'loaded')), ...refused.map(asRefusal)]));
    observer.reloaded?.({ bundles, seconds: (performance.now() - started) / 1000 });
  }

  /**
   * @param folders what to look at
   * @param present all folders that hold a bundle; what serves from another is unloaded
   */
  async function update(folders: readonly string[], present: readonly string[]): Promise<readonly BundleOutcome[]> {
    const here = models.filter(({ served }) => present.includes(served.folder));
    const found = await discoverBundles(
      modelsDir,
      folders,
      here.map(({ bundle }) => bundle),
    );
    const tried = await tryBeside(found.bundles);
    const joining: Running[] = [];
    const rejected: RefusedFolder[] = tried.filter(isRefused);
    for (const model of tried.filter(isRunning)) {
      const [problem] = newProblems([...models, ...joining], [...models, ...joining, model]);
      if (problem === undefined) joining.push(model);
      else rejected.push({ ...identify(model), reason: problem });
    }
    rejected.push(...(await loadEverywhere(joining)));
    refused = byFolder([
      ...refused.filter(({ folder }) => present.includes(folder) && !folders.includes(folder)),
      ...found.refused,
      ...rejected,
    ]);
    await Promise.all(
      found.bundles
        .filter(({ folder }) => !joining.some(({ served }) => served.folder === basename(folder)))
        .map(({ files }) => files.close()),
    );

    const unchanged = here.filter(({ bundle }) => found.unchanged.includes(bundle));
    const replaced = models.filter((old) => joining.some((model) => takesPlaceOf(model, old)));
    // A folder that keeps an older version for an alias: the folder does not hold it, and still it is not gone.
    const outdated = here.filter((old) =>
      unchanged.some((model) => model !== old && model.served.folder === old.served.folder),
    );
    const gone = models.filter(({ served }) => !present.includes(served.folder));
    const { leaving, kept } = leave([...new Set([...replaced, ...outdated, ...gone])], joining);
    await switchTo(inOrder([...models.filter((model) => !leaving.includes(model)), ...joining]), leaving);

    return tell(
      byFolder([
        ...joining.map((model) => outcomeOf(model, 'loaded')),
        ...unchanged
          .filter((model) => !kept.some((own) => own.model === model))
          .map((model) => outcomeOf(model, 'unchanged')),
        ...leaving.filter((model) => !isReplaced(model, joining)).map((model) => outcomeOf(model, 'unloaded')),
        ...kept.map(({ model, reason }): BundleOutcome => ({ ...outcomeOf(model, 'kept'), reason })),
        ...refused.filter(({ folder }) => folders.includes(folder)).map(asRefusal),
      ]),
    );
  }

  /** Tries bundles on processes that serve nobody, one after the other. */
  async function tryBeside(bundles: readonly Bundle[]): Promise<readonly (Running | RefusedFolder)[]> {
    if (bundles.length === 0) return [];
    const tokenizer = tokenizers.spare();
    const worker = pool.spare();
    try {
      const outcomes: (Running | RefusedFolder)[] = [];
      for (const bundle of bundles) {
        const specs = specsOf(bundle, ++count, options.graphs);
        outcomes.push(
          await attempt(bundle, specs, (own) =>
            worker.trial((process) => tryBundle(bundle, own, tokenizer, process, options.batchTokens)),
          ),
        );
      }
      return outcomes;
    } finally {
      await Promise.all([tokenizer.close(), worker.close()]);
    }
  }

  /** @returns refusals of all that would join, when one of them cannot be loaded by the processes that serve */
  async function loadEverywhere(joining: Running[]): Promise<readonly RefusedFolder[]> {
    if (joining.length === 0) return [];
    try {
      await renew([...models, ...joining]).catch((error: unknown) => loadInPlace(joining, error));
      return [];
    } catch (error) {
      await pool.withdraw(joining.map(({ key }) => key));
      const reason = `the processes that serve could not take it in: ${reasonOf(error)}`;
      return joining.splice(0).map((model) => ({ ...identify(model), reason }));
    }
  }

  /** Processes that have loaded exactly these take the place of those that serve. @throws ChildError */
  async function renew(all: readonly Running[]): Promise<void> {
    const renewed = await Promise.allSettled([
      tokenizers.renew(all.map(({ tokenizer }) => tokenizer)),
      pool.renew(all.map(({ graph }) => graph)),
    ]);
    for (const part of renewed) if (part.status === 'rejected') throw part.reason;
  }

  /**
   * Where files of what serves were written over, only the processes that run still have it: they take in what is new.
   * Requests wait meanwhile.
   */
  async function loadInPlace(joining: readonly Running[], error: unknown): Promise<void> {
    if (!(error instanceof ChildError && error.kind === 'refused')) throw error;
    for (const { tokenizer, graph } of joining) await Promise.all([tokenizers.load(tokenizer), pool.serve(graph)]);
  }

  /** Which of those that are to leave may, given who joins. */
  function leave(candidates: readonly Running[], joining: readonly Running[]) {
    const leaving: Running[] = [];
    const kept: { model: Running; reason: string }[] = [];
    for (const model of candidates) {
      const staying = [...models, ...joining].filter((own) => !leaving.includes(own));
      const without = staying.filter((own) => own !== model);
      const [problem] = newProblems(staying, without);
      const reason = without.length === 0 ? LAST_MODEL : problem;
      if (reason === undefined) leaving.push(model);
      else kept.push({ model, reason });
    }
    return { leaving, kept };
  }

  /** Problems that settings have with `after` and not with `before`. */
  function newProblems(before: readonly Running[], after: readonly Running[]): readonly string[] {
    const known = referenceProblems(inOrder(before), references);
    return referenceProblems(inOrder(after), references).filter((problem) => !known.includes(problem));
  }

  async function switchTo(next: readonly Running[], leaving: readonly Running[]): Promise<void> {
    models = next;
    if (leaving.length === 0) return;
    await Promise.all(leaving.map(unused));
    // Where this fails, the old processes keep what they have until the next change.
    await renew(models).catch(() => pool.withdraw(leaving.map(({ key }) => key)));
    await Promise.all(leaving.map(({ bundle }) => bundle.files.close()));
  }

  function accept(): void {
    if (closing) throw new ModelChangeError('shutting_down', 'The service is shutting down');
  }

  async function reload(): Promise<ReloadReport> {
    accept();
    waitingReload = undefined;
    const started = performance.now();
    const present = await bundleFolders(modelsDir);
    for (const folder of unloaded.keys()) if (!present.includes(folder)) unloaded.delete(folder);
    const folders = present.filter((folder) => !unloaded.has(folder));
    const bundles =
      present.length === 0
        ? tell(models.map((model) => ({ ...outcomeOf(model, 'kept'), reason: NO_BUNDLES })))
        : await update(folders, present);
    const report = { bundles, seconds: (performance.now() - started) / 1000 };
    observer.reloaded?.(report);
    return report;
  }

  await start();

  return {
    list: () => models.map(({ served }) => served),
    refused: () => refused.map(({ folder, reason }) => ({ folder, reason })),
    find,
    async use(model, work) {
      const running = model as Running;
      running.users++;
      try {
        return await work();
      } finally {
        running.users--;
        if (running.users === 0) running.unused?.();
      }
    },
    aliases: () =>
      new Map(
        [...references.aliases.keys()].flatMap((alias) => {
          const model = find(alias);
          return model === undefined ? [] : [[alias, model.served] as const];
        }),
      ),
    repository() {
      const reasons = new Map(refused.map(({ folder, reason }) => [folder, reason]));
      const ready = models.map((model): RepositoryEntry => {
        const reason = reasons.get(model.served.folder);
        return { ...identify(model), state: 'ready', ...(reason === undefined ? {} : { reason }) };
      });
      const serves = (folder: string) => models.some(({ served }) => served.folder === folder);
      return byFolder([
        ...ready,
        ...refused
          .filter(({ folder }) => !serves(folder))
          .map((entry): RepositoryEntry => ({ ...entry, state: 'unavailable' })),
        ...[...unloaded]
          .filter(([folder]) => !serves(folder))
          .map(([folder, own]): RepositoryEntry => ({ folder, ...own, state: 'unavailable', reason: BY_REQUEST })),
      ]);
    },
    reload() {
      // Those who ask while one waits for its turn ask for the same.
      waitingReload ??= inTurn(reload);
      return waitingReload;
    },
    load: (folder) =>
      inTurn(async () => {
        accept();
        const present = await bundleFolders(modelsDir);
        // Only a name that was found makes a path.
        if (!present.includes(folder))
          throw new ModelChangeError('unknown_bundle', 'No folder of that name in MODELS_DIR holds a bundle');
        unloaded.delete(folder);
        const stay = [...new Set([...present, ...models.map(({ served }) => served.folder)])];
        const outcomes = await update([folder], stay);
        return outcomes.find((own) => own.folder === folder && own.outcome !== 'kept') as BundleOutcome;
      }),
    unload: (reference) =>
      inTurn(async () => {
        accept();
        const model = find(reference);
        if (model === undefined) throw new ModelChangeError('unknown_model', 'No such model is served');
        const { kept } = leave([model], []);
        if (kept[0] !== undefined) throw new ModelChangeError('model_needed', kept[0].reason);
        const { folder, name, version } = model.served;
        const stay = models.filter((own) => own !== model);
        if (!stay.some(({ served }) => served.folder === folder)) unloaded.set(folder, { name, version });
        await switchTo(stay, [model]);
        const outcome = outcomeOf(model, 'unloaded');
        tell([outcome]);
        return outcome;
      }),
    async close() {
      closing = true;
      await inTurn(async () => {});
      await Promise.all(models.map(({ bundle }) => bundle.files.close()));
    },
  };
}

/** Whether what joins ends the service of `old`: it comes from the same folder, or says the same name and version. */
function takesPlaceOf(joining: Running, old: Running): boolean {
  const { folder, name, version } = joining.served;
  return old.served.folder === folder || (old.served.name === name && old.served.version === version);
}

const isReplaced = (old: Running, joining: readonly Running[]) =>
  joining.some(({ served }) => served.folder === old.served.folder);

async function unused(model: Running): Promise<void> {
  if (model.users > 0)
    await new Promise<void>((resolve) => {
      model.unused = resolve;
    });
}

const identify = ({ served: { folder, name, version } }: Running) => ({ folder, name, version });

const outcomeOf = (model: Running, outcome: BundleOutcome['outcome']): BundleOutcome => ({
  ...identify(model),
  outcome,
});

const asRefusal = (refused: RefusedFolder): BundleOutcome => ({ ...refused, outcome: 'refused' });

function byFolder<T extends { readonly folder: string }>(entries: readonly T[]): readonly T[] {
  return [...entries].sort((a, b) => (a.folder < b.folder ? -1 : a.folder > b.folder ? 1 : 0));
}
