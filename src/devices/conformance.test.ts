/** The reference device against the definitions of the ops, and whether the suite notices devices that are wrong. */

import { describe, expect, it } from 'vitest';
import { isFloat } from '../graph/dtype.ts';
import { OPS } from '../ops/index.ts';
import { CONFORMANCE_CASES, caseInputs, conformanceFailures, conformanceSuite } from './testing/conformance.ts';
import type { Device } from './device.ts';
import { createReferenceDevice } from './reference/reference-device.ts';

const byOp = [...OPS].filter(([, op]) => op.file === undefined).map(([name]) => [name, CONFORMANCE_CASES.filter(({ op }) => op.name === name)] as const);

it('knows samples of every op, and a NaN in a float input reaches the output in some of them', () => {
  for (const [name, cases] of byOp) {
    expect(cases.length, name).toBeGreaterThan(0);
    const op = cases[0]?.op;
    if (op === undefined) continue;
    const floats = new Set(cases.flatMap(({ sample }) => sample.inputs.flatMap((type, index) => (isFloat(type.dtype) ? [index] : []))));
    for (const input of floats) {
      const reaches = cases.some((testCase) => {
        const { sample, poison } = testCase;
        if (poison?.input !== input || !Number.isNaN(poison.value)) return false;
        const outputs = op.reference(caseInputs(testCase), sample.attrs, sample.inputs, op.infer(sample.inputs, sample.attrs));
        return outputs.some((array) => array.some(Number.isNaN));
      });
      expect(reaches, `${name}: NaN in input ${input}`).toBe(true);
    }
  }
});

it('the reference device conforms', async () => {
  expect(await conformanceSuite(createReferenceDevice())).toEqual([]);
}, 60_000);

describe('the suite', () => {
  it('notices a device that is wrong in one element, swallows a NaN, or writes beside its output', async () => {
    const broken = (spoil: (memory: Uint8Array, offset: number) => void, swallowNaN = false): Device => {
      const good = createReferenceDevice();
      return {
        ...good,
        async allocate(bytes) {
          const arena = await good.allocate(bytes);
          return {
            ...bound(arena),
            load(program) {
              const loaded = arena.load(program);
              return {
                program,
                timings: () => loaded.timings(),
                async run() {
                  const status = await loaded.run();
                  const output = program.instructions[0]?.outputs[0];
                  if (output === undefined) return status;
                  const memory = arena.read(0, program.arenaBytes);
                  if (!swallowNaN) spoil(memory, output.offset);
                  else {
                    const floats = new Float32Array(memory.buffer);
                    const from = output.offset / 4;
                    const count = output.shape.reduce((a, b) => a * b, 1);
                    floats.subarray(from, from + count).forEach((x, i) => (floats[from + i] = Number.isNaN(x) ? 0 : x));
                  }
                  arena.write(0, memory);
                  return status;
                },
              };
            },
          };
        },
      };
    };
    const adds = CONFORMANCE_CASES.filter(({ op, sample }) => op.name === 'add' && sample.inputs.every(({ dtype }) => dtype === 'f32'));
    const flip = (memory: Uint8Array, offset: number): void => void (memory[offset + 2] = (memory[offset + 2] ?? 0) ^ 0x40);
    expect((await conformanceFailures(broken(flip), adds)).length).toBeGreaterThan(0);
    expect((await conformanceFailures(broken((memory, offset) => void (memory[offset - 1] = 0)), adds)).length).toBe(adds.length);
    expect((await conformanceFailures(broken(() => undefined), adds))).toEqual([]);
    expect((await conformanceFailures(broken(() => undefined, true), adds)).every((text) => text.includes('NaN'))).toBe(true);
    expect((await conformanceFailures(broken(() => undefined, true), adds)).length).toBeGreaterThan(0);
  });
});

/** The arena's methods as own properties, for overriding one of them. */
function bound(arena: Awaited<ReturnType<Device['allocate']>>): Awaited<ReturnType<Device['allocate']>> {
  return {
    bytes: arena.bytes,
    read: (offset, length) => arena.read(offset, length),
    write: (offset, bytes) => arena.write(offset, bytes),
    writeConverted: (offset, to, bytes, from) => arena.writeConverted(offset, to, bytes, from),
    readConverted: (offset, from, count, to) => arena.readConverted(offset, from, count, to),
    fill: (offset, length, byte) => arena.fill(offset, length, byte),
    get fileBytes() {
      return arena.fileBytes;
    },
    attachFile: (file) => arena.attachFile(file),
    readFile: (at, length) => arena.readFile(at, length),
    writeFile: (at, bytes) => arena.writeFile(at, bytes),
    load: (program) => arena.load(program),
    free: () => arena.free(),
  };
}
