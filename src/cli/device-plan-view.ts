/** A plan for GPUs as tables: the same parts as an embedded plan's, with the error bar of every figure that is estimated. */

import { formatBytes } from '../base/bytes.ts';
import { formatTable, visibleWidth } from '../base/table.ts';
import type { DevicePlanResult } from '../index.ts';
import { PLAIN, type Paint } from './colour.ts';
import { joinParts, renderNotices } from './memory-view.ts';
import { formatCount, formatDuration, formatMs, formatShare, plural } from './numbers.ts';

/** What the three ways to count say, as tools print them. */
const METRICS = [
  ['allocated', 'allocatedBytes', 'torch.cuda.max_memory_allocated'], ['reserved', 'reservedBytes', 'torch.cuda.max_memory_reserved'], ['device', 'deviceBytes', 'nvidia-smi: with context and communication buffers'],
] as const;

/** Everything that was found, ending with whether it fits. `columns` is where lines should end. */
export function renderDevicePlan(result: DevicePlanResult, paint: Paint, columns: number): string {
  return joinParts([
    formatTable(devicePlanFacts(result)),
    renderReasons('plan', result.techniques, paint, columns),
    renderReasons('chosen', result.choices, paint, columns),
    renderNotices(result.notices, paint),
    renderMemory(result, paint),
    renderFrontier(result.frontier, paint, columns),
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
    ['rows', `${plural(batch.rowsPerUpdate, 'row')} of ${formatCount(rowLength)} tokens per update${filling === 0 ? '' : `, and ${filling} of filling`}`],
    ['speed', speedText(result)],
  ];
}

function speedText({ stepMs, tokensPerSecond, totalSteps, time, errorBars }: DevicePlanResult): string {
  const whole = totalSteps === undefined ? '' : `, ${plural(totalSteps, 'update')} in ${formatDuration((totalSteps * stepMs) / 1000)}`;
  return `${formatMs(stepMs)} per update, ${formatCount(Math.round(tokensPerSecond))} tokens/s${whole}, MFU ${formatShare(time.mfu)} (± ${formatShare(errorBars.time)})`;
}

/** Name and value, with the reason beside them where there is room for it, else under them. */
function renderReasons(title: string, list: DevicePlanResult['techniques'], paint: Paint, columns: number): string {
  if (list.length === 0) return '';
  const beside = formatTable(list.map(({ key, value, reason }) => [key, value, paint.apply('dim', reason)]), { indent: '  ' });
  const names = Math.max(...list.map(({ key }) => key.length));
  const under = list.map(({ key, value, reason }) => `  ${key.padEnd(names)}  ${value}\n${' '.repeat(names + 4)}${paint.apply('dim', reason)}`).join('\n');
  return `${paint.apply('bold', title)}\n${fits(beside, columns) ? beside : under}`;
}

/** What less memory would cost, and more would gain. */
function renderFrontier(frontier: DevicePlanResult['frontier'], paint: Paint, columns: number): string {
  if (frontier.length < 2) return '';
  const header = ['', 'memory', 'update', 'tokens/s', 'numbers', ''];
  const cells = frontier.map(({ forecastBytes, stepMs, tokensPerSecond, numerics, chosen }) => [
    chosen ? '→' : '', formatBytes(forecastBytes), formatMs(stepMs), formatCount(Math.round(tokensPerSecond)), numerics === 'changed' ? paint.apply('yellow', numerics) : 'kept',
  ]);
  const table = (rows: readonly (readonly string[])[]): string => formatTable(rows, { header, indent: '  ', align: ['left', 'right', 'right', 'right', 'left', 'left'] });
  const beside = table(cells.map((row, index) => [...row, frontier[index]!.summary]));
  const [titles, rule, ...lines] = table(cells).split('\n');
  const under = [titles, rule, ...lines.flatMap((line, index) => [line, `     ${paint.apply('dim', frontier[index]!.summary)}`])].join('\n');
  return `${paint.apply('bold', 'memory against time')}\n${fits(beside, columns) ? beside : under}`;
}

function fits(text: string, columns: number): boolean {
  return text.split('\n').every((line) => visibleWidth(line) <= columns);
}

function renderMemory({ memory, errorBars, plan }: DevicePlanResult, paint: Paint): string {
  const rows = Object.entries(memory.classes).filter(([, bytes]) => bytes >= 1).map(([name, bytes]) => [name, formatBytes(bytes), formatShare(bytes / memory.deviceBytes)]);
  const phases = memory.phases.map(({ phase, allocatedBytes }) => `${phase} ${formatBytes(allocatedBytes)}`).join(', ');
  const each = plan.worldSize > 1 ? ' of each device' : '';
  return [
    `${paint.apply('bold', `memory${each} at the peak, ${memory.peakPhase}`)} (estimate ± ${formatShare(errorBars.memory)})`,
    formatTable(rows, { indent: '  ', align: ['left', 'right', 'right'] }),
    formatTable(METRICS.map(([name, key, tool]) => [name, formatBytes(memory[key]), tool]), { align: ['left', 'right', 'left'], indent: '  ' }),
    `  allocated by phase:\n    ${phases}`,
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
