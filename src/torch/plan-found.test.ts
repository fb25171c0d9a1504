import { describe, expect, it } from 'vitest';
import { GIB } from '../base/bytes.ts';
import { resolveSettings } from '../run/resolve-settings.ts';
import type { RunConfig } from '../run/run-config.ts';
import { foundDevice } from './found-device.ts';
import { planForFound } from './plan-found.ts';
import { findPublicModel } from './public-models.ts';
import type { ProbedDevice } from './python.ts';

const probed = (name: string, gib: number, change: Partial<ProbedDevice> = {}): ProbedDevice => ({ kind: 'cuda', name, bytes: gib * GIB, freeBytes: gib * GIB, bf16: true, ...change });
const one = { worldSize: 1, ranksPerNode: 1 };
const nameOf = (device: ProbedDevice): string | undefined => foundDevice([device], one)?.device.accelerator.name;

describe('the devices that torch sees', () => {
  it.each([
    [probed('NVIDIA H100 80GB HBM3', 79.1), 'NVIDIA H100-SXM'],
    [probed('NVIDIA H100 PCIe', 79.1), 'NVIDIA H100-PCIe'],
    [probed('NVIDIA H200', 139.8), 'NVIDIA H200-SXM'],
    [probed('NVIDIA A100-SXM4-40GB', 39.4), 'NVIDIA A100-SXM-40GB'],
    [probed('NVIDIA A100-SXM4-80GB', 79.2), 'NVIDIA A100-SXM-80GB'],
    [probed('NVIDIA A100 80GB PCIe', 79.2), 'NVIDIA A100-PCIe-80GB'],
    [probed('Tesla T4', 14.6), 'NVIDIA T4'],
    [probed('NVIDIA L40S', 44.4), 'NVIDIA L40S'],
    [probed('NVIDIA GeForce RTX 4090', 23.6), 'NVIDIA GeForce RTX 4090'],
    [probed('AMD Instinct MI300X', 191.7, { kind: 'rocm' }), 'AMD MI300X'],
  ])('are found in the table by the name of the driver: $name', (device, name) => {
    expect(nameOf(device)).toBe(name);
  });

  it('are not taken for a neighbour of like name or of other memory', () => {
    const { device, notices } = foundDevice([probed('NVIDIA GeForce RTX 4070 Ti', 12, { bf16: false })], one)!;
    expect([device.accelerator.name, device.accelerator.hasBf16]).toEqual(['NVIDIA GeForce RTX 4070 Ti', false]);
    expect(notices).toEqual(["'NVIDIA GeForce RTX 4070 Ti' is not in the table of devices: its memory (12.00 GiB) is known, its speed is a guess"]);
    expect(nameOf(probed('NVIDIA GeForce RTX 3060', 8))).toBe('NVIDIA GeForce RTX 3060');
    expect(foundDevice([probed('NVIDIA GeForce RTX 3060', 8)], one)!.notices).toHaveLength(1);
  });

  it('count by the least free memory, and none is no device', () => {
    const found = foundDevice([probed('NVIDIA H100 80GB HBM3', 79), probed('NVIDIA H100 80GB HBM3', 79, { freeBytes: 60 * GIB })], { worldSize: 2, ranksPerNode: 2 })!;
    expect([found.device.memoryBytes, found.device.name, found.notices]).toEqual([60 * GIB, '2 × NVIDIA H100-SXM', []]);
    expect(foundDevice([], one)).toBeUndefined();
  });
});

describe('the plan for them', () => {
  const shape = findPublicModel('meta-llama/Llama-3.2-1B')!.shape;
  const plan = (config: Partial<RunConfig>, device = probed('NVIDIA GeForce RTX 4090', 23.6)): ReturnType<typeof planForFound> => planForFound([device], one, {
    settings: resolveSettings({ model: 'm', dataset: 'd.jsonl', ...config }), shape, rowLength: 2048, bucketLengths: [2048], rows: { rowsPerUpdate: 8 }, frozen: { names: [], count: 0 },
  });

  it('is the one of the planner, with its expectation', () => {
    const { plan: made, notices } = plan({ bf16: true })!;
    expect(made.precision).toBe('bf16');
    expect(made.batch.microBatchSize * made.batch.accumulationSteps).toBe(8);
    expect(made.expected!.peakBytes).toBeLessThan(23.6 * GIB);
    expect(notices.join()).toContain('planned for NVIDIA GeForce RTX 4090');
  });

  it('is made for the memory that the settings give', () => {
    const [large, small] = [plan({ bf16: true })!, plan({ bf16: true, memory: '21GiB' })!];
    expect(small.plan.expected!.peakBytes).toBeLessThan(21 * GIB);
    expect(small.plan.expected!.stepMs).toBeGreaterThanOrEqual(large.plan.expected!.stepMs!);
  });

  it('is refused when nothing fits, with what would', () => {
    expect(() => plan({ cpu_offload: false }, probed('NVIDIA GeForce RTX 3060', 11.8))).toThrowError(expect.objectContaining({ code: 'E_BUDGET', remedy: expect.stringContaining('--allow all') }));
  });
});
