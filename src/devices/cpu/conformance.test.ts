/** Every kernel of every instruction set that this machine runs, on every sample of its op, between guard pages. */

import { describe, expect, it } from 'vitest';
import { OPS } from '../../ops/index.ts';
import { CONFORMANCE_CASES, conformanceFailures } from '../testing/conformance.ts';
import { createCpuDevice } from './cpu-device.ts';
import { loadNative } from './loader.ts';

const targets = loadNative().targets().filter(({ supported }) => supported);

it('has the attributes of every op in the order of the op table', () => {
  const signatures = loadNative().signatures();
  expect(signatures).toEqual(Object.fromEntries([...OPS.values()].map((op) => [op.name, op.attrs.join(' ')])));
});

describe.each(targets.map(({ name }) => name))('%s', (isa) => {
  const device = createCpuDevice({ isa, threads: 2, guardPages: true });
  it.each([...OPS.keys()])('%s', async (name) => {
    expect(await conformanceFailures(device, CONFORMANCE_CASES.filter(({ op }) => op.name === name))).toEqual([]);
  }, 60_000);
});
