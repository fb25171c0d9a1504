/** The time model of a run on this machine: what `fulltune doctor` measured once and stored, or else a guess. */

import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { env } from '../base/debug.ts';
import type { TimeModel } from '../compile/planned-run.ts';
import { genericCalibration, parseCalibration, type Calibration } from '../cost/calibration.ts';
import { createCostModel, FULL_ROWS, type Workload } from '../cost/cost-model.ts';
import { nativeHash } from '../devices/cpu/compile-native.ts';
import type { Device } from '../devices/device.ts';
import { calibrate, machineName } from './calibrate.ts';

export interface MachineTime {
  readonly model: TimeModel;
  /** False when nothing was measured on this machine with these kernels and threads. */
  readonly isMeasured: boolean;
}

export function timeModel(device: Device, workload: Workload = FULL_ROWS): MachineTime {
  const stored = storedCalibration(device);
  return { model: createCostModel(stored ?? genericCalibration(device), workload), isMeasured: stored !== undefined };
}

/** Measures the machine and keeps the figures; where the cache cannot be written they are good for this process alone. */
export async function calibrateMachine(device: Device): Promise<Calibration> {
  const calibration = await calibrate(device, { processor: processorName() });
  measured.set(fileName(device), calibration);
  try {
    mkdirSync(folder(), { recursive: true });
    const path = join(folder(), fileName(device));
    writeFileSync(`${path}.${process.pid}`, JSON.stringify(calibration));
    renameSync(`${path}.${process.pid}`, path);
  } catch {
    // Planning goes on with the figures of this process; the next one measures again or guesses.
  }
  return calibration;
}

/** What was measured before, here or by another process; undefined when there is nothing, or it is damaged, or of another build. */
export function storedCalibration(device: Device): Calibration | undefined {
  if (device.name !== 'cpu') return undefined;
  const here = measured.get(fileName(device));
  if (here !== undefined) return here;
  try {
    const found = parseCalibration(JSON.parse(readFileSync(join(folder(), fileName(device)), 'utf8')));
    return found?.machine === machineName(device, processorName()) ? found : undefined;
  } catch {
    return undefined;
  }
}

const measured = new Map<string, Calibration>();

function folder(): string {
  return join(env.cacheFolder, 'fulltune', 'calibration');
}

function processorName(): string {
  return cpus()[0]?.model.trim() ?? 'unknown processor';
}

function fileName(device: Device): string {
  return `${createHash('sha256').update(`${machineName(device, processorName())} ${nativeHash()}`).digest('hex').slice(0, 20)}.json`;
}
