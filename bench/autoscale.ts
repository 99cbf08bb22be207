/**
 * How the deployed autoscalers carry a tenfold spike: a simulation with what docs/performance measured of one replica and with
 * what the manifests of k8s/ say. It needs kubectl and no cluster, and measures nothing itself.
 *
 *     npm run autoscale                 the table
 *     npm run autoscale -- --save       and keeps it, with plots, in docs/performance; `npm run docs` writes it into docs/kubernetes.md
 *     npm run autoscale -- --only keda
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { readMeasured } from './autoscaling/measured.ts';
import {
  type AutoscalingReport,
  autoscalingMarkdown,
  baseLoad,
  columnsOf,
  readBothDeployed,
  runScenario,
} from './autoscaling/report.ts';
import { ASSUMPTIONS, OBJECTIVE, SCENARIOS } from './autoscaling/scenarios.ts';
import { drawTimeline } from './autoscaling/timeline-plot.ts';
import { keptFile } from './command.ts';
import { writeJson } from './report.ts';

const { values: options } = parseArgs({
  options: { save: { type: 'boolean' }, only: { type: 'string', multiple: true } },
});
const measured = readMeasured();
const deployed = await readBothDeployed();
const base = baseLoad(measured, deployed.keda);
const ran = SCENARIOS.filter(({ name }) => options.only?.includes(name) ?? true).map((scenario) => {
  process.stderr.write(`${scenario.name} …\n`);
  return runScenario(scenario, measured, deployed[scenario.scaler], base);
});
const timelineOf = (name: string) => ran.find(({ row }) => row.name === name)?.timeline ?? [];
const report: AutoscalingReport = {
  objective: OBJECTIVE,
  assumptions: ASSUMPTIONS,
  measured,
  deployed,
  baseTextsPerSecond: base,
  rows: ran.map(({ row }) => row),
  timelines: { hpa: columnsOf(timelineOf('hpa')), keda: columnsOf(timelineOf('keda')) },
};
if (options.save && options.only === undefined) {
  writeJson(keptFile('autoscaling.json'), report);
  const titles = { hpa: 'Tenfold at once, scaled on processor use', keda: 'Tenfold at once, scaled on load and wait' };
  for (const scaler of ['hpa', 'keda'] as const)
    writeFileSync(keptFile(`autoscaling-${scaler}.svg`), await drawTimeline(titles[scaler], timelineOf(scaler)));
}
console.log(autoscalingMarkdown(report));
