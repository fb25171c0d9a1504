/** The device that the settings name, and what the machine says about memory. */

import type { Device } from '../devices/device.ts';
import { createCpuDevice } from '../devices/cpu/cpu-device.ts';
import { createReferenceDevice } from '../devices/reference/reference-device.ts';
import type { Settings } from '../run/run-config.ts';

export { freeMemoryBytes } from '../devices/cpu/free-memory.ts';
export { pressureGauge, type MemoryPressure } from '../devices/cpu/memory-pressure.ts';
export { peakResidentBytes } from '../devices/cpu/resident-memory.ts';

export function createDevice({ device, threads }: Pick<Settings, 'device' | 'threads'>): Device {
  switch (device) {
    case 'cpu':
      return createCpuDevice(threads === undefined ? {} : { threads });
    case 'reference':
      return createReferenceDevice();
    default:
      return device satisfies never;
  }
}
