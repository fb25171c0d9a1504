/** From settings, model and devices to what the planner for GPUs is asked; for a device that is named and for those of this machine alike. */

import { parseBytes } from '../base/bytes.ts';
import type { Settings } from '../run/run-config.ts';
import type { ModelDirectory } from '../train/model-directory.ts';
import type { DeviceSpec } from './device-spec.ts';
import type { ModelShape } from './model-shape.ts';
import type { RowsPerUpdate } from './torch-rows.ts';
import type { TorchRequest } from './torch-space.ts';

export interface TorchRequestParts {
  readonly settings: Settings;
  readonly shape: ModelShape;
  readonly device: DeviceSpec;
  readonly rowLength: number;
  readonly bucketLengths: readonly number[];
  readonly rows: RowsPerUpdate;
  readonly frozen: FrozenParameters;
}

export interface FrozenParameters {
  readonly names: readonly string[];
  /** Values in all of them. */
  readonly count: number;
}

export function torchRequest({ settings, shape, device, rowLength, bucketLengths, rows, frozen }: TorchRequestParts): TorchRequest {
  return {
    settings, shape, device, rowLength, bucketLengths, ...rows, memoryBytes: budgetOfDevice(settings, device), frozen: frozen.names, frozenParameters: frozen.count,
    pinned: pinnedBy(settings, device.worldSize),
  };
}

/** What one device may hold: all of it, or `memory` where that is less. */
export function budgetOfDevice({ memory }: Pick<Settings, 'memory'>, { memoryBytes }: Pick<DeviceSpec, 'memoryBytes'>): number {
  return memory === undefined ? memoryBytes : Math.min(memoryBytes, parseBytes(memory, 'memory'));
}

export function countFrozen(names: readonly string[], { parameters }: ModelDirectory): FrozenParameters {
  const set = new Set(names);
  return { names, count: parameters.filter(({ name }) => set.has(name)).reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0) };
}

/** What the settings say of techniques that only PyTorch has. Replicas on one device are one copy. */
function pinnedBy({ sharding, cpu_offload: cpuOffload, attn_implementation: attention, torch_compile: compile }: Settings, worldSize: number): NonNullable<TorchRequest['pinned']> {
  return {
    ...(sharding === undefined ? {} : { sharding: sharding === 'ddp' && worldSize === 1 ? 'none' : sharding }),
    ...(cpuOffload === undefined ? {} : { cpuOffload }), ...(compile === undefined ? {} : { compile }),
    ...(attention === undefined ? {} : { attention: attention === 'flex_attention' ? 'flex' : attention }),
  };
}
