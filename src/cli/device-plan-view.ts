/** A plan for GPUs as tables: the same parts as an embedded plan's, with the error bar of every figure that is estimated. */

import { formatBytes } from '../base/bytes.ts';
import { formatTable } from '../base/table.ts';
import type { DevicePlanResult } from '../index.ts';
import { PLAIN, type Paint } from './colour.ts';
import { joinParts, renderChoices, renderFrontier, renderNotices } from './memory-view.ts';
import { formatCount, formatDuration, formatMs, formatShare, plural } from './numbers.ts';

/** What the three ways to count say, as tools print them. */
const METRICS = [
  ['allocated', 'allocatedBytes', 'torch.cuda.max_memory_allocated'], ['reserved', 'reservedBytes', 'torch.cuda.max_memory_reserved'], ['device', 'deviceBytes', 'nvidia-smi: with context and communication buffers'],
] as const;

/** Everything that was found, ending with whether it fits. `columns` is where lines should end. */
export function renderDevicePlan(result: DevicePlanResult, paint: Paint, columns: number): string {
  return joinParts([
    formatTable(devicePlanFacts(result)),
    renderTechniques(result.techniques, paint, columns),
    renderChoices(result.choices, paint),
    renderNotices(result.notices, paint),
    renderMemory(result, paint),
    renderFrontier(result.frontier, paint),
    renderBetter(result, paint),
    [deviceVerdict(result, paint), ...result.remedies.map((remedy) => `  ${remedy}`)].join('\n'),
  ]);
}

/** Model, device, data, batch and speed, by name. */
export function devicePlanFacts(result: DevicePlanResult): readonly (readonly [string, string])[] {
  const { model, data, device, plan, rowLength } = result;
  const { batch, worldSize } = plan;
  const filling = batch.microBatchSize * batch.accumulationSteps * worldSize - batch.rowsPerUpdate;
  return [
    ['model', `${model.name} (${model.type}), ${formatCount(model.parameters)} parameters`],
    ['device', `${device.name}, ${formatBytes(device.memoryBytes)}${device.worldSize > 1 ? ' each' : ''}`],
    ...(data === undefined ? [] : [['data', `${plural(data.documents, 'document')}, ${formatCount(data.tokens)} tokens, ${formatCount(data.rowsPerEpoch)} rows per epoch`] as const]),
    ['batch', `${plural(batch.rowsPerUpdate, 'row')} of ${formatCount(rowLength)} tokens = micro-batch ${batch.microBatchSize} × accumulation ${batch.accumulationSteps}${worldSize > 1 ? ` × ${worldSize} ranks` : ''}${filling === 0 ? '' : ` − ${filling} ignored`}`],
    ['speed', speedText(result)],
  ];
}

function speedText({ stepMs, tokensPerSecond, totalSteps, time, errorBars }: DevicePlanResult): string {
  const whole = totalSteps === undefined ? '' : `, ${plural(totalSteps, 'update')} in ${formatDuration((totalSteps * stepMs) / 1000)}`;
  return `${formatMs(stepMs)} per update, ${formatCount(Math.round(tokensPerSecond))} tokens/s${whole}, MFU ${formatShare(time.mfu)} (estimate ± ${formatShare(errorBars.time)})`;
}

/** The reason stands beside the value where there is room for it, else under it. */
function renderTechniques(techniques: DevicePlanResult['techniques'], paint: Paint, columns: number): string {
  const names = Math.max(...techniques.map(({ key }) => key.length));
  const values = Math.max(...techniques.map(({ value }) => value.length));
  const longest = Math.max(...techniques.map(({ reason }) => reason.length));
  const lines = 2 + names + 2 + values + 2 + longest <= columns
    ? formatTable(techniques.map(({ key, value, reason }) => [key, value, paint.apply('dim', reason)]), { indent: '  ' })
    : techniques.map(({ key, value, reason }) => `  ${key.padEnd(names)}  ${value}\n  ${' '.repeat(names)}  ${paint.apply('dim', reason)}`).join('\n');
  return `${paint.apply('bold', 'plan')}\n${lines}`;
}

function renderMemory({ memory, errorBars, plan }: DevicePlanResult, paint: Paint): string {
  const rows = Object.entries(memory.classes).filter(([, bytes]) => bytes >= 1).map(([name, bytes]) => [name, formatBytes(bytes), formatShare(bytes / memory.deviceBytes)]);
  const phases = memory.phases.map(({ phase, allocatedBytes }) => `${phase} ${formatBytes(allocatedBytes)}`).join(', ');
  const each = plan.worldSize > 1 ? ' of each device' : '';
  return [
    `${paint.apply('bold', `memory${each} at the peak, ${memory.peakPhase}`)} (estimate ± ${formatShare(errorBars.memory)})`,
    formatTable(rows, { indent: '  ', align: ['left', 'right', 'right'] }),
    formatTable(METRICS.map(([name, key, tool]) => [name, formatBytes(memory[key]), tool]), { align: ['left', 'right', 'left'], indent: '  ' }),
    `  by phase: ${phases}`,
  ].join('\n');
}

function renderBetter({ better, plan }: DevicePlanResult, paint: Paint): string {
  if (better.length === 0) return '';
  const lines = better.map(({ change, neededBytes, stepMs, fits }) => [change, `would need ${formatBytes(neededBytes)}${plan.worldSize > 1 ? ' each' : ''}`, fits ? `and run in ${formatMs(stepMs)} per update` : 'and not fit either']);
  return `${paint.apply('bold', 'better, but it changes the numbers')}\n${formatTable(lines, { indent: '  ' })}`;
}

/** `FITS: 61.3 GiB (55.7 GiB and 10 % for error) of 79.1 GiB`. */
export function deviceVerdict({ kind, neededBytes, memory, budgetBytes, errorBars, device }: DevicePlanResult, paint: Paint = PLAIN): string {
  const needed = `${formatBytes(neededBytes)} (${formatBytes(memory.deviceBytes)} and ${formatShare(errorBars.memory)} for error)`;
  const each = device.worldSize > 1 ? ' per device' : '';
  return kind === 'fits' ? `${paint.apply('green', 'FITS')}: ${needed} of ${formatBytes(budgetBytes)}${each}` : `${paint.apply('red', 'DOES NOT FIT')}: the smallest plan needs ${needed}, and there are ${formatBytes(budgetBytes)}${each}`;
}
