/** Which models and bundles there are, as metrics. Asked at each scrape, since a reload may change what is served. */
import { Gauge } from 'prom-client';

import type { Engine } from '../engine/types.ts';

/** Always 1: its labels are the information. */
export function modelInfo(engine: Engine): Gauge {
  return new Gauge({
    name: 'dslora_model_info',
    help: 'Served models.',
    labelNames: ['model', 'version', 'base', 'method', 'precision', 'execution_provider', 'default'],
    registers: [],
    collect() {
      this.reset();
      const standard = engine.defaultModel();
      for (const model of engine.models()) {
        const { name, version, manifest, graph, executionProvider } = model;
        this.set(
          {
            model: name,
            version,
            base: manifest.base.id,
            method: manifest.method.name,
            precision: manifest.graphs.find(({ file }) => file === graph)?.precision ?? 'unknown',
            execution_provider: executionProvider,
            default: String(model === standard),
          },
          1,
        );
      }
    },
  });
}

export function repositoryBundles(engine: Engine): Gauge {
  return new Gauge({
    name: 'dslora_repository_bundles',
    help: 'Bundles in MODELS_DIR by whether they serve.',
    labelNames: ['state'],
    registers: [],
    collect() {
      for (const state of ['ready', 'unavailable'] as const)
        this.set({ state }, engine.repository().filter((entry) => entry.state === state).length);
    },
  });
}
