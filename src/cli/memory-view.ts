/** A plan and its memory as tables: what `plan`, `inspect memory` and `train --dry-run` print. */

import { formatBytes } from '../base/bytes.ts';
import { formatTable } from '../base/table.ts';
import { STORAGE_CLASSES, type StorageClass } from '../run/storage-class.ts';
import type { MemoryReport, PlanResult } from '../index.ts';
import { PLAIN, type Paint } from './colour.ts';
import { formatCount, formatDuration, formatMs, formatShare, plural } from './numbers.ts';

/** Everything `plan()` found, ending with whether it fits. */
export function renderPlan(result: PlanResult, paint: Paint): string {
  const { choices, techniques, notices } = result;
  return joinParts([
    formatTable(planFacts(result)),
    renderTechniques(techniques, paint),
    renderChoices(choices, paint),
    renderNotices(notices, paint),
    renderMemory(result.memory, paint),
    renderFrontier(result.frontier, paint),
    renderVerdict(result, paint),
  ]);
}

/** Model, data, rows, batch and predicted speed, by name. */
export function planFacts(result: PlanResult): readonly (readonly [string, string])[] {
  const { model, data, plan } = result;
  return [
    ['model', `${model.name} (${model.type}), ${formatCount(model.parameters)} parameters`],
    ...(data === undefined ? [] : [
      ['data', `${plural(data.documents, 'document')}, ${formatCount(data.tokens)} tokens, ${formatShare(data.tokens === 0 ? 0 : data.trainedTokens / data.tokens)} trained${data.cut > 0 ? `, ${formatCount(data.cut)} cut off` : ''}`] as const,
      ['rows', `${formatCount(data.rowsPerEpoch)} per epoch, up to ${formatCount(data.maxLength)} tokens`] as const,
    ]),
    ['batch', batchText(plan.batch)],
    ['speed', speedText(result)],
  ];
}

/** `1.52 s per update, 2,690 tokens/s, 15 updates in 23 s`, all predicted. */
function speedText({ stepMs, tokensPerSecond, totalSteps }: PlanResult): string {
  const whole = totalSteps === undefined ? '' : `, ${plural(totalSteps, 'update')} in ${formatDuration((totalSteps * stepMs) / 1000)}`;
  return `${formatMs(stepMs)} per update, ${formatCount(Math.round(tokensPerSecond))} tokens/s${whole} (predicted)`;
}

/** What each technique does in the plan, and why not another value. */
function renderTechniques(techniques: PlanResult['techniques'], paint: Paint): string {
  return `${paint.apply('bold', 'plan')}\n${formatTable(techniques.map(({ key, value, reason }) => [key, value, paint.apply('dim', reason)]), { indent: '  ' })}`;
}

/** Memory against time: what less memory would cost, and more would gain. */
function renderFrontier(frontier: PlanResult['frontier'], paint: Paint): string {
  if (frontier.length < 2) return '';
  const rows = frontier.map(({ forecastBytes, stepMs, tokensPerSecond, numerics, summary, chosen }) => [
    chosen ? '→' : '', formatBytes(forecastBytes), formatMs(stepMs), formatCount(Math.round(tokensPerSecond)), numerics === 'changed' ? paint.apply('yellow', numerics) : 'kept', summary,
  ]);
  const header = ['', 'memory', 'update', 'tokens/s', 'numbers', ''];
  return `${paint.apply('bold', 'memory against time')}\n${formatTable(rows, { header, indent: '  ', align: ['left', 'right', 'right', 'right', 'left', 'left'] })}`;
}

/** `8 rows per update = micro-batch 4 × accumulation 2`, and what fills the last micro-batch. */
export function batchText(batch: { readonly rowsPerUpdate: number; readonly microBatchSize: number; readonly accumulationSteps: number; readonly ranks?: number }): string {
  const { ranks = 1 } = batch;
  const filling = batch.microBatchSize * batch.accumulationSteps * ranks - batch.rowsPerUpdate;
  const less = filling === 0 ? '' : ` − ${filling} ignored`;
  return `${plural(batch.rowsPerUpdate, 'row')} per update = micro-batch ${batch.microBatchSize} × accumulation ${batch.accumulationSteps}${ranks === 1 ? '' : ` × ${ranks} ranks`}${less}`;
}

export function renderChoices(choices: readonly { readonly key: string; readonly value: string; readonly reason: string }[], paint: Paint): string {
  if (choices.length === 0) return '';
  return `${paint.apply('bold', 'chosen')}\n${formatTable(choices.map(({ key, value, reason }) => [key, value, paint.apply('dim', reason)]), { indent: '  ' })}`;
}

export function renderNotices(notices: readonly string[], paint: Paint): string {
  return notices.map((notice) => `${paint.apply('yellow', 'note')}  ${notice}`).join('\n');
}

/** By class, by layer, by program; then arena, process and forecast. */
export function renderMemory(report: MemoryReport, paint: Paint): string {
  return parts([
    `${paint.apply('bold', `memory at the peak: ${report.peak.program}, ${report.peak.node}`)}\n${renderClasses(report)}`,
    `${paint.apply('bold', 'by layer')}\n${renderGroups(report)}`,
    `${paint.apply('bold', 'by program')}\n${renderPrograms(report)}`,
    formatTable([
      ['arena', formatBytes(report.arenaBytes), `${formatShare(report.fragmentation)} lost between live ranges`],
      ['process', formatBytes(report.processBytes), 'at most: runtime, threads, staging'],
      ['forecast', paint.apply('bold', formatBytes(report.forecastBytes)), ''],
      ...(report.fileBytes === 0 ? [] : [['file', formatBytes(report.fileBytes), 'on disk: what is offloaded']]),
    ], { align: ['left', 'right', 'left'] }),
  ]);
}

/** Bytes per class, as in a MemoryReport or in the summary that a start event carries. */
export function renderClasses({ classes, peakLiveBytes }: Pick<MemoryReport, 'classes' | 'peakLiveBytes'>): string {
  const rows = classes.map(({ storage, bytes }) => [storage, formatBytes(bytes), formatShare(peakLiveBytes === 0 ? 0 : bytes / peakLiveBytes)]);
  return formatTable([...rows, ['live', formatBytes(peakLiveBytes), '']], { indent: '  ', align: ['left', 'right', 'right'] });
}

function renderGroups({ groups }: MemoryReport): string {
  const present = STORAGE_CLASSES.filter((storage) => groups.some(({ byClass }) => (byClass[storage] ?? 0) > 0));
  const cell = (bytes: number | undefined): string => (bytes === undefined || bytes === 0 ? '·' : formatBytes(bytes));
  const rows = groups.map(({ name, bytes, byClass }) => [name, formatBytes(bytes), ...present.map((storage: StorageClass) => cell(byClass[storage]))]);
  return formatTable(rows, { header: ['', 'bytes', ...present], indent: '  ', align: ['left', 'right', ...present.map(() => 'right' as const)] });
}

function renderPrograms({ programs }: MemoryReport): string {
  const rows = programs.map(({ name, instructions, transientBytes, peakLiveBytes }) => [name, formatCount(instructions), formatBytes(transientBytes), formatBytes(peakLiveBytes)]);
  return formatTable(rows, { header: ['program', 'instructions', 'transient', 'live at its peak'], indent: '  ', align: ['left', 'right', 'right', 'right'] });
}

function renderVerdict(result: PlanResult, paint: Paint): string {
  const remedies = result.kind === 'too-small' ? result.remedies : [];
  return [verdictText(result, paint), ...remedies.map((remedy) => `  ${remedy}`)].join('\n');
}

/** `FITS: 244.0 MiB needed, 1.00 GiB free`. */
export function verdictText(result: PlanResult, paint: Paint = PLAIN): string {
  switch (result.kind) {
    case 'fits':
      return `${paint.apply('green', 'FITS')}: ${formatBytes(result.memory.forecastBytes)} of ${budgetText(result)}`;
    case 'too-small':
      return `${paint.apply('red', 'DOES NOT FIT')}: the smallest plan needs ${formatBytes(result.neededBytes)}, and there are ${budgetText(result)}`;
    default:
      return result satisfies never;
  }
}

function budgetText({ budgetBytes, freeBytes }: PlanResult): string {
  return `${formatBytes(budgetBytes)} (${formatBytes(freeBytes)} are free)`;
}

/** Parts with an empty line between them; empty parts are left out. */
function parts(list: readonly string[]): string {
  return list.filter((part) => part !== '').join('\n\n');
}

/** A whole output: parts with an empty line between them, ending with a newline. */
export function joinParts(list: readonly string[]): string {
  return `${parts(list)}\n`;
}
