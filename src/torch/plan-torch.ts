/** The plan of a run on PyTorch: chosen, explained, with what else there is. Knows no file and no device, so it also runs in a browser. */

import { formatBytes, GIB } from '../base/bytes.ts';
import type { Choice } from '../run/events.ts';
import type { FrontierPoint } from '../run/frontier.ts';
import { ALLOWABLE, type Settings } from '../run/run-config.ts';
import type { TorchPlan } from '../run/torch-plan.ts';
import { MEMORY_ERROR, type MemoryEstimate } from './estimate-memory.ts';
import { timeError, type TimeEstimate } from './estimate-time.ts';
import { parseDevice } from './device-spec.ts';
import { briefTorchPlan, torchFrontier, torchReasons } from './torch-explain.ts';
import { fastest, searchTorch, smallest, type TorchCandidate } from './torch-search.ts';
import type { TorchRequest } from './torch-space.ts';

/** A change of the settings that changes the numbers, and what it would do. */
export interface Better {
  /** As a flag: `--bf16`. */
  readonly change: string;
  /** Estimate and error bar. */
  readonly neededBytes: number;
  readonly stepMs: number;
  readonly fits: boolean;
}

export interface PlannedTorch {
  readonly fits: boolean;
  /** What `train --engine torch --plan` runs; the smallest there is, when nothing fits. */
  readonly plan: TorchPlan;
  readonly memory: MemoryEstimate;
  readonly time: TimeEstimate;
  /** Shares of memory and time by which measurements may differ. */
  readonly errorBars: { readonly memory: number; readonly time: number };
  /** The least memory of a device that the plan is said to fit. */
  readonly neededBytes: number;
  readonly techniques: readonly Choice[];
  readonly frontier: readonly FrontierPoint[];
  /** What would be better, where the user has to say so. */
  readonly better: readonly Better[];
  /** What to do when nothing fits, best first. */
  readonly remedies: readonly string[];
}

export function planTorch(request: TorchRequest): PlannedTorch {
  const { candidates, chosen, fits } = searchTorch(request);
  const expected = { peakBytes: Math.round(chosen.memory.deviceBytes), stepMs: Math.round(chosen.time.updateMs) };
  return {
    fits, plan: { ...chosen.plan, expected }, memory: chosen.memory, time: chosen.time, errorBars: { memory: MEMORY_ERROR, time: timeError(request.device.accelerator) }, neededBytes: chosen.neededBytes,
    techniques: torchReasons(chosen, candidates, request), frontier: torchFrontier(chosen, candidates, request), better: betterThan(chosen, request, fits), remedies: fits ? [] : remediesFor(chosen, request),
  };
}

/** Changes of numerics that the settings do not permit yet, each alone: those that would be faster, or smaller where nothing fits. */
function betterThan(chosen: TorchCandidate, request: TorchRequest, fits: boolean): readonly Better[] {
  const { settings, device } = request;
  const { bf16, fp16, bf16_weights: weights, optim } = settings;
  const isPlain = chosen.plan.precision === 'f32';
  const changes: readonly (readonly [string, Partial<Settings>])[] = [
    ...(isPlain && bf16 !== false && device.accelerator.hasBf16 ? [['--bf16', { bf16: true }] as const] : []),
    ...(isPlain && fp16 !== false && !device.accelerator.hasBf16 ? [['--fp16', { fp16: true }] as const] : []),
    ...(weights === undefined && optim !== 'adafactor' && chosen.plan.precision !== 'bf16-weights' && device.accelerator.hasBf16 ? [['--bf16-weights', { bf16_weights: true }] as const] : []),
    ...(optim === undefined && chosen.plan.optimizer.kind === 'adamw' ? (['adamw_8bit', 'adamw_4bit'] as const).map((name) => [`--optim ${name}`, { optim: name }] as const) : []),
  ];
  return changes.flatMap(([change, changed]): readonly Better[] => {
    const found = searchTorch({ ...request, settings: { ...settings, ...changed } });
    const isBetter = found.fits ? !fits || found.chosen.time.updateMs < chosen.time.updateMs * 0.98 : !fits && found.chosen.neededBytes < chosen.neededBytes * 0.98;
    return isBetter ? [{ change, neededBytes: found.chosen.neededBytes, stepMs: found.chosen.time.updateMs, fits: found.fits }] : [];
  });
}

/** Changes with what the smallest plan would then need; those that fit first. */
function remediesFor(chosen: TorchCandidate, request: TorchRequest): readonly string[] {
  const { settings, rowLength, device, memoryBytes } = request;
  const all: Settings = { ...settings, allow: [...ALLOWABLE] };
  const shorter = Math.max(64, Math.floor(rowLength / 128) * 64);
  const more = device.worldSize * 2;
  const tries: readonly (readonly [string, Partial<TorchRequest>])[] = [
    ...(settings.allow.length < ALLOWABLE.length ? [['--allow all', { settings: all }] as const] : []),
    ...(shorter < rowLength ? [[`--max-length ${shorter}`, { rowLength: shorter, bucketLengths: [shorter] }] as const] : []),
    ...(settings.allow.length < ALLOWABLE.length && shorter < rowLength ? [[`--allow all --max-length ${shorter}`, { settings: all, rowLength: shorter, bucketLengths: [shorter] }] as const] : []),
    [`${more} devices of this kind`, { device: { ...device, worldSize: more, devicesPerNode: Math.max(device.devicesPerNode, Math.min(8, more)) } }],
    ...(settings.allow.length < ALLOWABLE.length ? [[`${more} devices and --allow all`, { settings: all, device: { ...device, worldSize: more, devicesPerNode: Math.max(device.devicesPerNode, Math.min(8, more)) } }] as const] : []),
  ];
  const needed = tries.map(([change, changed]) => ({ change, bytes: smallest(searchTorch({ ...request, ...changed }).candidates).neededBytes })).filter(({ bytes }) => bytes < chosen.neededBytes * 0.99);
  const { parameters, gradients, 'optimizer state': state } = chosen.memory.classes;
  return [
    `Weights, gradients and optimizer state alone take ${formatBytes(parameters + gradients + state)} of it.`,
    `A device with ${(Math.ceil((chosen.neededBytes / GIB) * 10) / 10).toFixed(1)} GiB to give would do.`,
    ...needed.sort((a, b) => a.bytes - b.bytes).map(({ change, bytes }) => `${change} would need ${formatBytes(bytes)}${bytes <= memoryBytes ? ', which fits' : ''}.`),
  ];
}

export { briefTorchPlan, fastest, parseDevice };
