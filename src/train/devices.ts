/** The device that the settings name, and how much memory is free for it. */

import type { Device } from '../devices/device.ts';
import { createCpuDevice } from '../devices/cpu/cpu-device.ts';
import { createReferenceDevice } from '../devices/reference/reference-device.ts';
import type { Settings } from '../run/run-config.ts';

export { freeMemoryBytes } from '../devices/cpu/free-memory.ts';

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
