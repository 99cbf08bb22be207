/** The stage of the CUDA image that can be built without its base: the two libraries out of the wheel. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { buildImage, importBases } from './build.ts';
import { openPodman, type Podman, whyNoContainers } from './podman.ts';

// The wheel has 247 MB.
if (process.env.DSLORA_TEST_FULL) {
  describe('the CUDA libraries', { skip: whyNoContainers() ?? false }, () => {
    const image = 'localhost/cuda-provider:test';
    let podman: Podman;

    before(async () => {
      podman = await openPodman();
      await importBases(podman, 'node');
      await importBases(podman, 'python');
    });

    after(() => podman?.close());

    test('are fetched by hash', async () => {
      await buildImage(podman, image, '--target', 'cuda-provider');
      const listed = await podman.run(
        'run',
        '--rm',
        image,
        'sh',
        '-c',
        'cd /out && ls -l && od -A n -t x1 -N 4 *cuda.so',
      );
      assert.match(listed, /libonnxruntime_providers_cuda\.so/);
      assert.match(listed, /libonnxruntime_providers_shared\.so/);
      assert.match(listed, /7f 45 4c 46/, 'an ELF file');
    });
  });
}
