/** The cpu device gives the same bits for any number of threads, with every instruction set. That they are right: cpu/conformance.test.ts. */

import { describe, expect, it } from 'vitest';
import { OPS } from '../ops/index.ts';
import { CONFORMANCE_CASES, conformanceOutputs, sameBytes } from './conformance.ts';
import { createCpuDevice } from './cpu/cpu-device.ts';
import { loadNative } from './cpu/loader.ts';

const targets = loadNative().targets().filter((target) => target.supported).map((target) => target.name);

describe.each(targets)('cpu %s', (isa) => {
  const devices = [2, 3].map((threads) => createCpuDevice({ isa, threads }));
  const one = createCpuDevice({ isa, threads: 1 });

  it.each([...OPS.keys()])('%s', async (name) => {
    for (const testCase of CONFORMANCE_CASES.filter(({ op, poison }) => op.name === name && poison === undefined)) {
      const wanted = await conformanceOutputs(one, testCase);
      for (const device of devices) {
        const bytes = await conformanceOutputs(device, testCase);
        const same = bytes.every((output, index) => sameBytes(output, wanted[index]));
        expect(same, `${testCase.name}: ${device.description} gives other bits than 1 thread`).toBe(true);
      }
    }
  });
});
