/** The configuration with workers, threads and batch size filled in where nobody set them. */
import { type Config, isSet } from './config.ts';
import { type ChosenSizing, chooseSizing } from './engine/sizing.ts';

export interface SizedConfig {
  readonly config: Config;
  readonly sizing: ChosenSizing;
}

/**
 * @param env what the configuration was read from
 * @throws CalibrationError when CALIBRATION_FILE cannot be read or is no calibration
 */
export async function sizeConfig(
  config: Config,
  env: Readonly<Record<string, string | undefined>>,
): Promise<SizedConfig> {
  const sizing = await chooseSizing({
    modelsDir: config.modelsDir,
    provider: config.executionProvider,
    calibrationFile: config.calibrationFile,
    set: {
      ...(config.workers === undefined ? {} : { workers: config.workers }),
      ...(config.threads === undefined ? {} : { threads: config.threads }),
      ...(isSet('batchTokens', env) ? { batchTokens: config.batchTokens } : {}),
    },
  });
  const { workers, threads, batchTokens } = sizing;
  return { config: { ...config, workers, threads, batchTokens }, sizing };
}
