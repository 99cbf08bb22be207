/** The CPU image, built and run for real. Debian stands in for the official base images (docs/containers.md). */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { buildImage, importBases } from './build.ts';
import { testComposeUp } from './compose-up.ts';
import { type Built, testContent, unpack } from './image-content.ts';
import { testRuns } from './image-runs.ts';
import { openPodman, type Podman, whyNoContainers } from './podman.ts';

const IMAGE = 'localhost/ds-lora-service:test';

describe('the CPU image', { skip: whyNoContainers() ?? false }, () => {
  let podman: Podman | undefined;
  let built: Built | undefined;

  before(async () => {
    podman = await openPodman();
    await importBases(podman);
    await buildImage(podman, IMAGE, '--target', 'cpu');
    built = await unpack(podman, IMAGE);
  });

  after(() => podman?.close());

  const whenBuilt = (): Built => {
    assert.ok(built !== undefined, 'the image was not built');
    return built;
  };
  testContent(whenBuilt);
  testRuns(whenBuilt);
  testComposeUp(whenBuilt);

  if (process.env.DSLORA_TEST_FULL) {
    test('the same commit makes the same layers', async () => {
      const { podman } = whenBuilt();
      await buildImage(podman, `${IMAGE}-again`, '--target', 'cpu', '--no-cache');
      // All but the last: what Node compiled is not the same twice, though it means the same.
      const layers = async (image: string) =>
        (
          JSON.parse(await podman.run('image', 'inspect', '--format', '{{json .RootFS.Layers}}', image)) as string[]
        ).slice(0, -1);
      assert.deepEqual(await layers(`${IMAGE}-again`), await layers(IMAGE));
    });
  }
});
