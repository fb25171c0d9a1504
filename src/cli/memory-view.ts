/** A plan and its memory as tables: what `plan`, `inspect memory` and `train --dry-run` print. */

import { formatBytes } from '../base/bytes.ts';
import { formatTable } from '../base/table.ts';
import { STORAGE_CLASSES, type StorageClass } from '../run/storage-class.ts';
import type { MemoryReport, PlanResult } from '../index.ts';
import type { Paint } from './colour.ts';
import { formatCount, formatShare, plural } from './numbers.ts';

/** Everything `plan()` found, ending with whether it fits. */
export function renderPlan(result: PlanResult, paint: Paint): string {
  const { model, data, plan, choices, techniques, notices } = result;
  const facts = [
    ['model', `${model.name} (${model.type}), ${formatCount(model.parameters)} parameters`],
    ['data', `${plural(data.documents, 'document')}, ${formatCount(data.tokens)} tokens, ${formatShare(data.tokens === 0 ? 0 : data.trainedTokens / data.tokens)} trained`],
    ['rows', `${formatCount(data.rowsPerEpoch)} per epoch, up to ${formatCount(data.maxLength)} tokens`],
    ['batch', batchText(plan.batch)],
    ['steps', formatCount(result.totalSteps)],
  ];
  return joinParts([
    formatTable(facts),
    formatTable(techniques.map((line) => [line]), { indent: '  ' }),
    renderChoices(choices, paint),
    renderNotices(notices, paint),
    renderMemory(result.memory, paint),
    renderVerdict(result, paint),
  ]);
}

/** `8 rows per update = micro-batch 4 × accumulation 2`, and what fills the last micro-batch. */
export function batchText(batch: { readonly rowsPerUpdate: number; readonly microBatchSize: number; readonly accumulationSteps: number }): string {
  const filling = batch.microBatchSize * batch.accumulationSteps - batch.rowsPerUpdate;
  const less = filling === 0 ? '' : ` − ${filling} ignored`;
  return `${plural(batch.rowsPerUpdate, 'row')} per update = micro-batch ${batch.microBatchSize} × accumulation ${batch.accumulationSteps}${less}`;
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
  switch (result.kind) {
    case 'fits':
      return `${paint.apply('green', 'FITS')}: ${formatBytes(result.memory.forecastBytes)} needed, ${formatBytes(result.freeBytes)} free`;
    case 'too-small': {
      const head = `${paint.apply('red', 'DOES NOT FIT')}: ${formatBytes(result.neededBytes)} needed, ${formatBytes(result.freeBytes)} free, of which a part is left to the rest of the machine`;
      return [head, ...result.remedies.map((remedy) => `  ${remedy}`)].join('\n');
    }
    default:
      return result satisfies never;
  }
}

/** Parts with an empty line between them; empty parts are left out. */
function parts(list: readonly string[]): string {
  return list.filter((part) => part !== '').join('\n\n');
}

/** A whole output: parts with an empty line between them, ending with a newline. */
export function joinParts(list: readonly string[]): string {
  return `${parts(list)}\n`;
}
