/** The files of arenas: what devices must do, and whether the suite notices one that is wrong. */

import { expect, it } from 'vitest';
import { createCpuDevice } from './cpu/cpu-device.ts';
import { loadNative } from './cpu/loader.ts';
import type { Device } from './device.ts';
import { createReferenceDevice } from './reference/reference-device.ts';
import { fileFailures } from './testing/file-conformance.ts';

it('of the reference device conform', async () => {
  expect(await fileFailures(createReferenceDevice())).toEqual([]);
});

it.each(loadNative().targets().filter(({ supported }) => supported).map(({ name }) => name))('of the cpu with %s conform', async (isa) => {
  for (const threads of [1, 3]) expect(await fileFailures(createCpuDevice({ isa, threads, guardPages: true }))).toEqual([]);
});

it('the suite notices a file that forgets, and one that holds other bytes', async () => {
  const broken = (spoil: (bytes: Uint8Array) => void): Device => {
    const good = createReferenceDevice();
    return {
      ...good,
      async allocate(bytes) {
        const arena = await good.allocate(bytes);
        const read = arena.readFile.bind(arena);
        arena.readFile = (at, length) => {
          const found = read(at, length);
          spoil(found);
          return found;
        };
        return arena;
      },
    };
  };
  expect(await fileFailures(broken(() => undefined))).toEqual([]);
  expect((await fileFailures(broken((bytes) => void bytes.fill(0)))).length).toBeGreaterThan(5);
  expect((await fileFailures(broken((bytes) => void (bytes.length > 4 && (bytes[2] = 1))))).length).toBeGreaterThan(5);
});
