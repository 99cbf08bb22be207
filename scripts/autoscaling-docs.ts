/** The table of docs/kubernetes.md, from what `npm run autoscale -- --save` kept. */
import { type AutoscalingReport, autoscalingMarkdown } from '../bench/autoscaling/report.ts';
import { keptFile } from '../bench/command.ts';
import { readJson } from '../bench/report.ts';

/** @throws Error when nothing was kept */
export function autoscalingPart(): string {
  const kept = readJson<AutoscalingReport>(keptFile('autoscaling.json'));
  if (kept === undefined)
    throw new Error('docs/performance/autoscaling.json is missing: make it with npm run autoscale -- --save');
  return autoscalingMarkdown(kept);
}
