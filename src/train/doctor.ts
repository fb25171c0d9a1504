/** `fulltune doctor`: what this machine offers, measured, and what is missing, with the remedy. */

import { statfsSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { formatBytes, GIB } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import { freeMemory } from '../devices/cpu/free-memory.ts';
import type { Calibration } from '../cost/calibration.ts';
import { createDevice } from './devices.ts';
import { calibrateMachine, storedCalibration } from './time-model.ts';

export interface DoctorCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly remedy?: string;
}

export interface DoctorReport {
  readonly checks: readonly DoctorCheck[];
}

const OLDEST_NODE = 20;

export interface DoctorOptions {
  readonly threads?: number;
  /** Measure again what was measured before. */
  readonly recalibrate?: boolean;
}

export async function doctor(options: DoctorOptions = {}): Promise<DoctorReport> {
  return { checks: [nodeVersion(), processor(), ...(await kernels(options)), memory(), disk()] };
}

function nodeVersion(): DoctorCheck {
  const major = Number(process.versions.node.split('.')[0]);
  const ok = major >= OLDEST_NODE;
  return { name: 'Node', ok, detail: process.versions.node, ...(ok ? {} : { remedy: `Install Node ${OLDEST_NODE} or newer.` }) };
}

function processor(): DoctorCheck {
  return { name: 'processor', ok: true, detail: `${cpus()[0]?.model.trim() ?? 'unknown'}, ${availableParallelism()} usable threads, ${process.arch}` };
}

async function kernels({ recalibrate = false, ...options }: DoctorOptions): Promise<readonly DoctorCheck[]> {
  try {
    const device = createDevice({ device: 'cpu', ...options });
    const peak = await device.measurePeak();
    return [
      { name: 'kernels', ok: true, detail: device.description },
      { name: 'speed', ok: true, detail: `${(peak / 1e9).toFixed(0)} GFLOP/s multiply-add limit (registers only, ${device.threads} threads, measured now)` },
      ...calibrationChecks(recalibrate ? await calibrateMachine(device) : (storedCalibration(device) ?? (await calibrateMachine(device)))),
    ];
  } catch (error) {
    if (!(error instanceof FulltuneError)) throw error;
    return [{ name: 'kernels', ok: false, detail: error.message, ...(error.remedy === undefined ? {} : { remedy: error.remedy }) }];
  }
}

/** Others had more of the processors than the system itself ever takes. */
const BUSY = 0.1;

/** What the time model goes by. */
export function calibrationChecks({ products, attention, bytesPerSecond, diskReadBytesPerSecond, diskWriteBytesPerSecond, othersShare = 0 }: Calibration): readonly DoctorCheck[] {
  const range = (rates: readonly number[], unit: number, name: string): string => `${(Math.min(...rates) / unit).toFixed(0)}-${(Math.max(...rates) / unit).toFixed(0)} ${name}`;
  return [
    { name: 'products', ok: true, detail: `${range(products.map((point) => point.flopsPerSecond), 1e9, 'GFLOP/s')} at ${products.length} sizes` },
    { name: 'attention', ok: true, detail: `${range(attention.map((point) => point.flopsPerSecond), 1e9, 'GFLOP/s')} at ${attention.length} sizes` },
    { name: 'memory rate', ok: true, detail: `${range(Object.values(bytesPerSecond), 1e9, 'GB/s')} in ${Object.keys(bytesPerSecond).length} ops that it bounds` },
    { name: 'disk rate', ok: true, detail: `${(diskReadBytesPerSecond / 1e9).toFixed(2)} GB/s read, ${(diskWriteBytesPerSecond / 1e9).toFixed(2)} GB/s written` },
    ...(othersShare < BUSY ? [] : [{
      name: 'quiet', ok: true, detail: `other programs had ${(othersShare * 100).toFixed(0)} % of the processors while these rates were measured: predicted times may be too long`,
      remedy: 'Run fulltune doctor --recalibrate when they have ended.',
    }]),
  ];
}

function memory(): DoctorCheck {
  const { bytes, holder } = freeMemory();
  const ok = bytes >= GIB;
  return { name: 'memory', ok, detail: `${holder} has ${formatBytes(bytes)} free`, ...(ok ? {} : { remedy: 'Stop other programs: little can be trained in less than 1 GiB.' }) };
}

function disk(): DoctorCheck {
  const { bavail, bsize } = statfsSync('.');
  const bytes = bavail * bsize;
  const ok = bytes >= GIB;
  return { name: 'disk', ok, detail: `${formatBytes(bytes)} free here`, ...(ok ? {} : { remedy: 'Free some: checkpoints take 12 bytes per parameter each.' }) };
}
