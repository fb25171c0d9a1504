/** The fastest plan of a PyTorch run that fits. Estimates are cheap, so every candidate is looked at: more memory is never predicted slower. */

import { estimateMemory, neededBytes, type MemoryEstimate } from './estimate-memory.ts';
import { estimateTime, type TimeEstimate } from './estimate-time.ts';
import { caseOfPlan } from './torch-case.ts';
import { torchSpace, type TorchCandidatePlan, type TorchRequest } from './torch-space.ts';

export interface TorchCandidate extends TorchCandidatePlan {
  readonly memory: MemoryEstimate;
  readonly time: TimeEstimate;
  /** The least memory of a device that this is said to fit: the estimate and its error bar. */
  readonly neededBytes: number;
}

export function evaluateTorch({ shape, device, frozenParameters }: Pick<TorchRequest, 'shape' | 'device' | 'frozenParameters'>, candidate: TorchCandidatePlan): TorchCandidate {
  const given = caseOfPlan(shape, candidate.plan, { frozenParameters, accelerator: device.accelerator });
  const memory = estimateMemory(given);
  return { ...candidate, memory, time: estimateTime(given, device), neededBytes: neededBytes(memory.deviceBytes) };
}

export interface TorchFound {
  readonly candidates: readonly TorchCandidate[];
  readonly chosen: TorchCandidate;
  readonly fits: boolean;
}

/** Those that keep the numbers first; one that changes them is taken only where nothing else fits. The smallest, when nothing does. */
export function searchTorch(request: TorchRequest): TorchFound {
  const candidates = torchSpace(request).map((candidate) => evaluateTorch(request, candidate));
  for (const group of byChanges(candidates)) {
    const best = fastest(group.filter((candidate) => candidate.neededBytes <= request.memoryBytes));
    if (best !== undefined) return { candidates, chosen: best, fits: true };
  }
  return { candidates, chosen: smallest(candidates), fits: false };
}

export function smallest(candidates: readonly TorchCandidate[]): TorchCandidate {
  return candidates.reduce((least, each) => (each.neededBytes < least.neededBytes || (each.neededBytes === least.neededBytes && isFaster(each, least)) ? each : least));
}

export function fastest(candidates: readonly TorchCandidate[]): TorchCandidate | undefined {
  return candidates.reduce<TorchCandidate | undefined>((best, each) => (best === undefined || isFaster(each, best) ? each : best), undefined);
}

/** By time; where it is the same, by memory. */
export function isFaster(a: TorchCandidate, b: TorchCandidate): boolean {
  return a.time.updateMs < b.time.updateMs || (a.time.updateMs === b.time.updateMs && a.neededBytes < b.neededBytes);
}

/** Groups that change the numbers in the same ways, the fewest changes first. */
function byChanges(candidates: readonly TorchCandidate[]): readonly (readonly TorchCandidate[])[] {
  const groups = new Map<string, TorchCandidate[]>();
  for (const candidate of candidates) {
    const { precision, optimizer } = candidate.plan;
    const key = candidate.changed.length === 0 ? '' : `${precision} ${optimizer.kind}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [candidate]);
    else group.push(candidate);
  }
  return [...groups.values()].sort((a, b) => a[0]!.changed.length - b[0]!.changed.length);
}
