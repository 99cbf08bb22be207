/** From the start of the process to the first moment when it says that it is ready. */
import { type Measurement, short } from '../measurement.ts';
import { startService } from '../service.ts';
import { spread } from '../statistics.ts';

const AT_MOST_S = 1.5;

export const start: Measurement = {
  name: 'start',
  what: 'start to ready, all models of the folder',
  target: `at most ${AT_MOST_S} s`,
  async run({ workload, effort }) {
    const times: number[] = [];
    // Once beforehand: the first start after an installation leaves its compiled code to all others, when it ends.
    await (await startService({ modelsDir: workload.modelsDir })).stop('SIGTERM');
    for (let i = 0; i < effort.rounds; i++) {
      const service = await startService({ modelsDir: workload.modelsDir });
      times.push(service.startMs / 1000);
      await service.stop();
    }
    const seconds = spread(times);
    return {
      measured: `${short(seconds.median)} s (${short(seconds.min)}-${short(seconds.max)})`,
      pass: seconds.median <= AT_MOST_S,
      figures: { seconds: times },
    };
  },
};
