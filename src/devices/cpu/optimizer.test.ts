/** What the update kernels promise beyond their definitions: the drawn bits, ranges, threads, and eight-bit codes that are the nearest ones. */

import { describe, expect, it } from 'vitest';
import { RandomStream } from '../../base/random.ts';
import { decodeElements, fromBf16Bits, toBf16Bits } from '../../graph/dtype.ts';
import { tensor, type TensorType } from '../../graph/shape.ts';
import { SIGNED_CODE, UNSIGNED_CODE } from '../../ops/dynamic-code.ts';
import { opOf } from '../../ops/index.ts';
import { roundStochastically } from '../../ops/stochastic-rounding.ts';
import { createCpuDevice } from './cpu-device.ts';
import { loadNative } from './loader.ts';
import { runOp } from './testing/run-op.ts';

const COUNT = 9000;
const one = tensor('f32', 1);
const scalars = [one, tensor('i32', 1), one];
const targets = loadNative().targets().filter(({ supported }) => supported).map(({ name }) => name);

function draws(stream: number, count = COUNT): Float64Array {
  const random = new RandomStream(11, stream);
  return Float64Array.from({ length: count }, () => Math.fround(2 * random.uniform() - 1));
}

interface Update {
  readonly op: string;
  readonly attrs: Readonly<Record<string, number>>;
  readonly inputs: readonly TensorType[];
  readonly values: readonly ArrayLike<number>[];
}

async function run(device: ReturnType<typeof createCpuDevice>, { op, attrs, inputs, values }: Update): Promise<Uint8Array[]> {
  const outputs = opOf(op).infer(inputs, attrs);
  return runOp(device, { op, attrs, inputs, values, outputs, overwrites: opOf(op).mustOverwrite?.(attrs) ?? [] });
}

/** Plain SGD with a learning rate of 1: the new parameter is old − gradient, exactly. */
function sgd(parameter: ArrayLike<number>, gradient: ArrayLike<number>, { seed, step }: { readonly seed: number; readonly step: number }): Update {
  const type = (dtype: 'bf16' | 'f32'): TensorType => tensor(dtype, parameter.length);
  return { op: 'sgd', attrs: { momentum: 0, weightDecay: 0, first: 0, seed }, inputs: [type('bf16'), type('f32'), ...scalars], values: [parameter, gradient, [1], [step], [1]] };
}

describe.each(targets)('%s', (isa) => {
  const device = createCpuDevice({ isa, threads: 3 });
  const alone = createCpuDevice({ isa, threads: 1 });

  it('rounds bf16 parameters with the bits that the definition draws', async () => {
    const parameter = draws(0).map((x) => fromBf16Bits(toBf16Bits(x)));
    const gradient = draws(1).map((x) => Math.fround(x * 1e-3));
    for (const key of [{ seed: 1, step: 1 }, { seed: 1, step: 2 }, { seed: 4_294_967_295 * 65536 + 7, step: 1 }]) {
      const [bytes] = await run(device, sgd(parameter, gradient, key));
      const wanted = roundStochastically(parameter.map((x, i) => Math.fround(x - gradient[i]!)), key, 0);
      expect(decodeElements('bf16', bytes!)).toEqual(wanted);
    }
  });

  it('rounds up as often as it must, and keeps what is exact', async () => {
    const count = 60_000;
    const small = 2 ** -12; // 1/32 of the distance from 1 to the next bf16
    const [bytes] = await run(device, sgd(new Float64Array(count).fill(1), new Float64Array(count).fill(-small), { seed: 9, step: 3 }));
    const mean = decodeElements('bf16', bytes!).reduce((sum, x) => sum + x, 0) / count;
    expect(Math.abs(mean - (1 + small))).toBeLessThan(4 * 2 ** -7 * Math.sqrt((1 / 32) * (31 / 32) / count));
    const [exact] = await run(device, sgd(new Float64Array(count).fill(1), new Float64Array(count).fill(0.5), { seed: 9, step: 3 }));
    expect(decodeElements('bf16', exact!).every((x) => x === 0.5)).toBe(true);
  });

  const adam = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.1, seed: 5 };
  const scalarValues = [[0.01], [3], [0.5]];

  it.each(['adamw', 'adamw_8bit'])('%s of ranges, one after the other, is that of the whole, on any number of threads', async (op) => {
    const coded = op === 'adamw_8bit';
    const codes = (stream: number): Float64Array => draws(stream).map((x) => Math.floor(128 + 128 * x));
    const scales = (stream: number): Float64Array => draws(stream, Math.ceil(COUNT / 256)).map(Math.abs);
    const state = coded ? [codes(2), scales(3), codes(4), scales(5)] : [draws(2), draws(4).map(Math.abs)];
    const dtypes = coded ? (['u8', 'f32', 'u8', 'f32'] as const) : (['f32', 'f32'] as const);
    const perElement = (index: number): number => (coded && index % 2 === 1 ? 1 / 256 : 1);
    const slice = (from: number, to: number): Float64Array[] => state.map((array, i) => array.subarray(Math.floor(from * perElement(i)), Math.ceil(to * perElement(i))));
    const update = (parameter: ArrayLike<number>, from: number, to: number): Update => {
      const parts = slice(from, to);
      return {
        op, attrs: { ...adam, first: from },
        inputs: [tensor('bf16', COUNT), tensor('f32', COUNT), ...parts.map((part, i) => tensor(dtypes[i]!, part.length)), ...scalars],
        values: [parameter, draws(1), ...parts, ...scalarValues],
      };
    };
    const whole = await run(device, update(draws(0), 0, COUNT));
    expect(await run(alone, update(draws(0), 0, COUNT))).toEqual(whole);
    let parameter: Float64Array = draws(0).map((x) => fromBf16Bits(toBf16Bits(x)));
    const parts: Uint8Array[][] = [];
    for (const [from, to] of [[0, 512], [512, 7168], [7168, COUNT]] as const) {
      const [after, ...rest] = await run(device, update(parameter, from, to));
      parameter = decodeElements('bf16', after!);
      parts.push(rest);
    }
    expect(parameter).toEqual(decodeElements('bf16', whole[0]!));
    state.forEach((_, i) => expect(Buffer.concat(parts.map((part) => part[i]!)).equals(whole[i + 1]!), `state ${i}`).toBe(true));
  });

  it('encodes moments as the nearest codes', async () => {
    // All magnitudes from 1e-9 to 1, so that every decade of the codes is met: from zero state the new moments are (1 − β)·g and (1 − β)·g².
    const random = new RandomStream(6, 0);
    const gradient = Float64Array.from({ length: COUNT }, (_, i) => (i % 256 === 0 ? 1 : Math.fround((i % 2 === 0 ? 1 : -1) * 10 ** (-9 * random.uniform()))));
    const zeros = new Float64Array(COUNT);
    const blocks = new Float64Array(Math.ceil(COUNT / 256));
    const [codes, absmax, full] = [tensor('u8', COUNT), tensor('f32', blocks.length), tensor('f32', COUNT)];
    const outputs = await run(device, {
      op: 'adamw_8bit', attrs: { ...adam, first: 0 }, inputs: [full, full, codes, absmax, codes, absmax, ...scalars],
      values: [zeros, gradient, zeros, blocks, zeros, blocks, [0.01], [1], [1]],
    });
    const cases = [[SIGNED_CODE, outputs[1]!, gradient], [UNSIGNED_CODE, outputs[3]!, gradient.map((g) => g * g)]] as const;
    for (const [code, found, relative] of cases) {
      expect(new Set(found).size).toBeGreaterThan(200);
      relative.forEach((x, i) => {
        const nearest = Math.min(...code.values.map((value) => Math.abs(value - x)));
        expect(Math.abs(code.values[found[i]!]! - x) - nearest, `${x}`).toBeLessThanOrEqual(1e-5 * Math.abs(x) + 1e-12);
      });
    }
    const m = gradient.map((g) => 0.1 * g);
    const kept = decodeElements('u8', outputs[1]!).map((code) => 0.1 * SIGNED_CODE.values[code]!);
    const [error, value] = decodeElements('f32', outputs[5]!);
    expect(value! / m.reduce((sum, x) => sum + x * x, 0)).toBeCloseTo(1, 5);
    expect(error! / m.reduce((sum, x, i) => sum + (x - kept[i]!) ** 2, 0)).toBeCloseTo(1, 3);
  });
});
