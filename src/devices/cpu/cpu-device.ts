/**
 * The cpu: C kernels over one block of memory, run by a native thread pool off the main thread. The same bits for any number of
 * threads; different instruction sets may differ in the last bits.
 */

import { availableParallelism } from 'node:os';
import { env } from '../../base/debug.ts';
import { FulltuneError } from '../../base/errors.ts';
import type { Device } from '../device.ts';
import { freeMemory } from './free-memory.ts';
import { createCpuArena } from './cpu-arena.ts';
import { cpuSpec } from './cpu-spec.ts';
import { loadNative } from './loader.ts';
import { fromNative, type DeviceHandle, type NativeModule } from './native.ts';
import { requireMemory } from './require-memory.ts';

export interface CpuDeviceOptions {
  /** Compute threads. Default: FULLTUNE_THREADS, else the processors that this process may use. */
  readonly threads?: number;
  /** Instruction set: baseline, avx2, avx512, neon. Default: FULLTUNE_ISA, else the best that this processor runs. */
  readonly isa?: string;
  /** Unreadable pages at both ends of every arena, so that a kernel that leaves it crashes instead of reading on. For tests. */
  readonly guardPages?: boolean;
}

/** The device ends with its last reference: its sleeping threads are joined when it is collected. */
const devices = new FinalizationRegistry<DeviceHandle>((handle) => loadNative().destroyDevice(handle));

/** Throws E_DEVICE for an instruction set that the processor does not run, or when the kernels cannot be loaded or compiled. */
export function createCpuDevice(options: CpuDeviceOptions = {}): Device {
  const native = loadNative();
  const isa = chooseTarget(native, options.isa ?? env.isa);
  const threads = options.threads ?? env.threads ?? availableParallelism();
  if (!Number.isInteger(threads) || threads < 1 || threads > 1024) {
    throw new FulltuneError('E_DEVICE', `${threads} threads`, { remedy: 'Use a whole number from 1 to 1024.' });
  }
  const handle = attempt(() => native.createDevice(isa, threads));
  const device: Device = {
    ...cpuSpec({ threads }),
    description: `cpu (${isa}, ${threads} ${threads === 1 ? 'thread' : 'threads'})`,
    async allocate(bytes) {
      requireMemory(bytes, freeMemory());
      try {
        const arena = await native.allocate(handle, bytes, options.guardPages ?? false);
        return createCpuArena(native, arena, { bytes, device });
      } catch (error) {
        throw fromNative(error);
      }
    },
    measurePeak: () => native.measurePeak(handle),
  };
  devices.register(device, handle);
  return device;
}

function chooseTarget(native: NativeModule, wanted: string | undefined): string {
  const targets = native.targets();
  const supported = targets.filter((target) => target.supported).map((target) => target.name);
  const best = supported.at(-1);
  if (wanted === undefined && best !== undefined) return best;
  if (wanted !== undefined && supported.includes(wanted)) return wanted;
  const known = targets.some((target) => target.name === wanted);
  throw new FulltuneError('E_DEVICE', known ? `this processor does not run ${wanted}` : `'${wanted}' is no instruction set that fulltune has kernels for`, {
    where: 'isa / FULLTUNE_ISA',
    remedy: `This machine runs: ${supported.join(', ')}.`,
  });
}

function attempt<T>(body: () => T): T {
  try {
    return body();
  } catch (error) {
    throw fromNative(error);
  }
}
