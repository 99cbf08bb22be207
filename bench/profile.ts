/** Where the main process's time goes at saturation: V8's sampling profiler over the real service. */
import { type Command, keptFile } from './command.ts';
import { type ProfileShares, sharesOf } from './cpu-profile.ts';
import { groupedTexts, measureLoad, singleTexts } from './loads.ts';
import { type Bench, short } from './measurement.ts';
import { type Conditions, describeConditions, writeJson } from './report.ts';
import { startService } from './service.ts';

const LOADS = [
  { name: 'one text a request, 64 connections', size: 1, connections: 64 },
  { name: '32 texts a request, 4 connections', size: 32, connections: 4 },
] as const;

const FUNCTIONS_SHOWN = 12;

export interface ProfileReport {
  readonly conditions: Conditions;
  readonly loads: readonly ProfiledLoad[];
}

interface ProfiledLoad extends Pick<ProfileShares, 'groups' | 'functions'> {
  readonly name: string;
  /** The profiler takes a part, so this is less than the table's. */
  readonly textsPerSecond: number;
  /** Share of the time in which the main process did not wait. */
  readonly busyShare: number;
  readonly busyMsPerText: number;
}

export const profile: Command = async ({ bench, conditions, save, say }) => {
  const loads: ProfiledLoad[] = [];
  for (const load of LOADS) {
    say(`profiling ${load.name} …`);
    loads.push(await profileLoad(bench, load));
  }
  const report: ProfileReport = { conditions, loads };
  if (save) writeJson(keptFile('profile.json'), report);
  return { text: profileMarkdown(report), json: report };
};

async function profileLoad({ workload, cpus, effort }: Bench, load: (typeof LOADS)[number]): Promise<ProfiledLoad> {
  const service = await startService({ modelsDir: workload.modelsDir, probe: true });
  const sent = {
    requests: load.size === 1 ? singleTexts(workload) : groupedTexts(workload, load.size),
    arrivals: { connections: load.connections },
    warmUpSeconds: 0,
  };
  // Code that has not been compiled yet is not what saturation looks like.
  await measureLoad(service, workload, cpus, { ...sent, seconds: effort.seconds });
  await service.ask('profile');
  const {
    textsPerSecond,
    load: { seconds },
  } = await measureLoad(service, workload, cpus, { ...sent, seconds: effort.seconds * 3 });
  const { busyUs, totalUs, groups, functions } = sharesOf(await service.ask('profiled'));
  await service.stop();
  return {
    name: load.name,
    textsPerSecond,
    busyShare: busyUs / totalUs,
    busyMsPerText: busyUs / 1000 / (textsPerSecond * seconds),
    groups,
    functions: functions.slice(0, FUNCTIONS_SHOWN),
  };
}

export function profileMarkdown({ conditions, loads }: ProfileReport): string {
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
  return [
    describeConditions(conditions),
    ...loads.flatMap(({ name, textsPerSecond, busyShare, busyMsPerText, groups, functions }) => [
      '',
      `**${name}**: ${short(textsPerSecond)} texts/s under the profiler; the main process is busy ${percent(busyShare)} of the ` +
        `time, ${short(busyMsPerText)} ms a text.`,
      '',
      '| work of the main process | share of its busy time | µs a text |',
      '| --- | --- | --- |',
      ...groups.map(({ group, share }) => `| ${group} | ${percent(share)} | ${short(share * busyMsPerText * 1000)} |`),
      '',
      '| function | where | self time |',
      '| --- | --- | --- |',
      ...functions.map((own) => `| \`${own.name}\` | ${own.place} | ${percent(own.share)} |`),
    ]),
  ].join('\n');
}
