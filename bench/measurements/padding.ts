/** How much of what the graph computes is padding, at saturation. */
import { groupedTexts, measureLoad, singleTexts } from '../loads.ts';
import { type Measurement, short } from '../measurement.ts';
import { type Service, startService } from '../service.ts';

const AT_MOST = 0.08;

const LOADS = [
  { name: '32 texts a request, 4 connections', size: 32, connections: 4 },
  { name: 'one text a request, 64 connections', size: 1, connections: 64 },
] as const;

export const padding: Measurement = {
  name: 'padding',
  what: 'padding share',
  target: `at most ${AT_MOST * 100} %`,
  async run({ workload, cpus, effort }) {
    const service = await startService({ modelsDir: workload.modelsDir });
    const shares: Record<string, number> = {};
    let cpu: Awaited<ReturnType<typeof measureLoad>>['cpu'] | undefined;
    for (const { name, size, connections } of LOADS) {
      const requests = size === 1 ? singleTexts(workload) : groupedTexts(workload, size);
      // No series before the first batch.
      const before = await tokensOf(service);
      const load = { requests, arrivals: { connections }, warmUpSeconds: 0, seconds: effort.seconds * 2 };
      cpu = (await measureLoad(service, workload, cpus, load)).cpu;
      const after = await tokensOf(service);
      if (after.padded === before.padded) throw new Error('/metrics counts no tokens, which this measurement reads');
      shares[name] = 1 - (after.real - before.real) / (after.padded - before.padded);
    }
    await service.stop();
    const worst = Math.max(...Object.values(shares));
    return {
      measured: Object.entries(shares)
        .map(([name, share]) => `${short(share * 100)} % (${name})`)
        .join(', '),
      pass: worst <= AT_MOST,
      ...(cpu === undefined ? {} : { cpu }),
      figures: { paddingShare: shares },
    };
  },
};

/** Tokens that graphs have run on so far: real ones, and with padding. */
async function tokensOf(service: Service): Promise<{ real: number; padded: number }> {
  const metrics = await service.metrics();
  return { real: metrics.get('dslora_batch_tokens_sum') ?? 0, padded: metrics.get('dslora_padded_tokens_total') ?? 0 };
}
