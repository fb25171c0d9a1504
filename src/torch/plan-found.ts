/** The plan of a run on the GPUs of this machine: that of the planner for GPUs, or a refusal before anything is written. */

import { formatBytes } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import type { Choice } from '../run/events.ts';
import type { TorchPlan } from '../run/torch-plan.ts';
import { foundDevice } from './found-device.ts';
import { planTorch } from './plan-torch.ts';
import type { ProbedDevice } from './python.ts';
import { briefTorchPlan } from './torch-explain.ts';
import { torchRequest, type TorchRequestParts } from './torch-request.ts';

export interface FoundPlan {
  readonly plan: TorchPlan;
  readonly choices: readonly Choice[];
  readonly notices: readonly string[];
}

/** Undefined where torch sees no device. Throws E_BUDGET when nothing fits. */
export function planForFound(devices: readonly ProbedDevice[], ranks: { readonly worldSize: number; readonly ranksPerNode: number }, parts: Omit<TorchRequestParts, 'device'>): FoundPlan | undefined {
  const found = foundDevice(devices, ranks);
  if (found === undefined) return undefined;
  const request = torchRequest({ ...parts, device: found.device });
  const { fits, plan, neededBytes, techniques, better, remedies, errorBars } = planTorch(request);
  if (!fits) {
    throw new FulltuneError('E_BUDGET', `no plan fits the ${formatBytes(request.memoryBytes)} of ${found.device.name}. The smallest needs ${formatBytes(neededBytes)} (${briefTorchPlan(plan)})`, {
      where: 'an estimate, its error bar included', remedy: remedies.join('\n  '),
    });
  }
  return {
    plan, choices: techniques,
    notices: [
      ...found.notices,
      `planned for ${found.device.name}: ${formatBytes(plan.expected!.peakBytes)} of ${formatBytes(request.memoryBytes)}, an estimate (±${Math.round(errorBars.memory * 100)} %)`,
      ...better.slice(0, 1).map(({ change, stepMs }) => `${change} would be faster: about ${(stepMs / 1000).toPrecision(2)} s per update instead of ${(plan.expected!.stepMs! / 1000).toPrecision(2)}`),
    ],
  };
}
