/** What `plan --device` takes. */

import { describe, expect, it } from 'vitest';
import { GIB } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import { ACCELERATORS } from './accelerators.ts';
import { parseDevice } from './device-spec.ts';

function refusal(text: string): FulltuneError {
  try {
    parseDevice(text);
  } catch (error) {
    if (error instanceof FulltuneError) return error;
  }
  throw new Error(`'${text}' was taken`);
}

describe('devices', () => {
  it('are found in the spellings that people use', () => {
    const named = (text: string): string => parseDevice(text).accelerator.name;
    for (const text of ['rtx-4090', 'RTX 4090', 'NVIDIA GeForce RTX 4090', 'rtx4090']) expect(named(text)).toBe('NVIDIA GeForce RTX 4090');
    expect(named('h100')).toBe('NVIDIA H100-SXM');
    expect(named('a100-40gb')).toBe('NVIDIA A100-SXM-40GB');
    expect(named('tpu-v5e')).toBe('Google TPU v5e');
    expect(named('m2-max')).toBe('Apple M2 Max');
  });

  it('have one row per spelling, a source, and all 43 of the list besides four TPUs', () => {
    const spellings = ACCELERATORS.flatMap(({ name, aliases }) => [name, ...aliases]).map((name) => name.toLowerCase().replaceAll(/[^a-z0-9]/g, ''));
    expect(new Set(spellings).size).toBe(spellings.length);
    expect(ACCELERATORS.filter(({ source, usableGiB, memoryGiB }) => source === '' || usableGiB > memoryGiB)).toEqual([]);
    expect(ACCELERATORS.filter(({ family }) => family !== 'tpu')).toHaveLength(43);
  });

  it('come in numbers and on nodes', () => {
    expect(parseDevice('8xH100-80GB')).toMatchObject({ worldSize: 8, devicesPerNode: 8, name: '8 × NVIDIA H100-SXM' });
    expect(parseDevice('2x8xa100')).toMatchObject({ worldSize: 16, devicesPerNode: 8, name: '2 × 8 × NVIDIA A100-SXM-80GB' });
    expect(parseDevice('16xa100')).toMatchObject({ worldSize: 16, devicesPerNode: 8 });
    expect(parseDevice('12xa100')).toMatchObject({ worldSize: 12, devicesPerNode: 12 });
    expect(parseDevice('rtx-4060-ti:8GiB').memoryBytes).toBeLessThan(8 * GIB);
  });

  it('may be numbers alone', () => {
    const spec = parseDevice('4x80GiB@990TFLOPS,3350GB/s,450GB/s');
    expect(spec).toMatchObject({ worldSize: 4, memoryBytes: 80 * GIB });
    expect(spec.accelerator).toMatchObject({ halfTflops: 990, bandwidthGBps: 3350, linkGBps: 450 });
    expect(parseDevice('24GiB@165TFLOPS').accelerator.remark).toContain('not given');
  });

  it('are refused with what to write instead', () => {
    expect(refusal('rtx-4091').remedy).toContain('Did you mean rtx-4090?');
    expect(refusal('8xH10-80GB').remedy).toContain('Did you mean h100-sxm?');
    expect(refusal('0xh100').message).toContain('asks for 0 devices');
    expect(refusal('80GiB@fast').message).toContain("'fast' after @");
    expect(refusal('80GiB@100TFLOPS,quick').message).toContain("'quick'");
    expect(refusal('h100:8quarks').code).toBe('E_CONFIG');
    expect(refusal('h100:8KiB').message).toContain('256 MiB');
  });
});
