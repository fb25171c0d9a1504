/** What a run's events look like: pure functions from an event to text. `run-view.ts` decides where it goes. */

import { formatBytes, MIB } from '../base/bytes.ts';
import { formatTable, visibleWidth } from '../base/table.ts';
import { STORAGE_CLASSES } from '../run/storage-class.ts';
import type { CheckpointEvent, EndEvent, EvalEvent, MemorySummary, StartEvent, StepEvent } from '../run/events.ts';
import type { Paint } from './colour.ts';
import { batchText, joinParts, renderChoices, renderClasses, renderNotices } from './memory-view.ts';
import { formatCount, formatDuration, formatRate, formatShare, formatValue, plural } from './numbers.ts';
import { renderRow } from './row-view.ts';

/** Characters of the example row that the start shows. */
const EXAMPLE_CHARACTERS = 600;

/** Everything to know before the first step. */
export function renderStart(event: StartEvent, paint: Paint): string {
  const { model, data, memory } = event;
  const frozen = model.parameters - model.trained;
  const trained = frozen === 0 ? 'all trained' : `${formatCount(model.trained)} trained, ${formatCount(frozen)} frozen`;
  const lost = [...(data.cut > 0 ? [`${formatCount(data.cut)} cut off`] : []), ...(data.split > 0 ? [`${formatCount(data.split)} split`] : [])];
  const share = formatShare(data.tokens === 0 ? 0 : data.trainedTokens / data.tokens);
  const facts = [
    ['model', `${model.name} (${model.type}), ${formatCount(model.parameters)} parameters, ${trained}`],
    ['data', [plural(data.documents, 'document'), `${formatCount(data.tokens)} tokens`, `${share} trained`, ...lost].join(', ')],
    ['rows', `${formatCount(data.rowsPerEpoch)} per epoch, up to ${formatCount(data.rowLength)} tokens`],
    ['batch', batchText(event.batch)],
    ['steps', event.startStep === 0 ? formatCount(event.totalSteps) : `${formatCount(event.startStep)} done, ${formatCount(event.totalSteps - event.startStep)} to go`],
    ['device', event.device],
    ['run', event.runDirectory],
  ];
  const example = event.example.length === 0 ? '' : [
    paint.apply('bold', `one training row, trained tokens ${paint.enabled ? 'in colour' : 'in ‹ ›'}`),
    renderRow(event.example, paint, { most: EXAMPLE_CHARACTERS, indent: '  ' }),
  ].join('\n');
  return joinParts([
    formatTable(facts),
    renderChoices(event.choices, paint),
    `${paint.apply('bold', 'techniques')}\n${formatTable(event.techniques.map((line) => [line]), { indent: '  ' })}`,
    renderNotices(event.notices, paint),
    memory === null ? '' : renderMemorySummary(memory, paint),
    example,
  ]);
}

function renderMemorySummary({ atPeak, peakLiveBytes, arenaBytes, forecastBytes }: MemorySummary, paint: Paint): string {
  const classes = STORAGE_CLASSES.flatMap((storage) => {
    const bytes = atPeak[storage];
    return bytes === undefined ? [] : [{ storage, bytes }];
  });
  return `${paint.apply('bold', 'memory at the peak')}\n${renderClasses({ classes, peakLiveBytes })}\n  arena ${formatBytes(arenaBytes)}, with the process at most ${formatBytes(forecastBytes)}`;
}

/** One step as a line of its own, for files and pipes. */
export function renderStep(event: StepEvent, totalSteps: number): string {
  return [
    `step ${event.step}/${totalSteps}`,
    `epoch ${event.epoch.toFixed(2)}`,
    `loss ${formatValue(event.loss)}`,
    `grad norm ${event.gradientNorm === null ? 'overflow' : formatValue(event.gradientNorm)}`,
    `lr ${formatRate(event.learningRate)}`,
    `${formatCount(event.tokensPerSecond)} tokens/s`,
    `MFU ${formatShare(event.mfu)}`,
    `memory ${formatBytes(event.residentBytes)}`,
    `left ${formatDuration(event.etaSeconds)}`,
    ...(event.lossScale === undefined ? [] : [`loss scale ${event.lossScale}${event.skipped === true ? ', update skipped' : ''}`]),
  ].join('  ');
}

export interface LiveOptions {
  readonly columns: number;
  readonly paint: Paint;
  /** Step of the newest checkpoint, where there is one. */
  readonly saved?: number | undefined;
}

/** One step as the line that is written over: a bar, then the same figures; cut to `columns`. */
export function renderLiveStep(event: StepEvent, totalSteps: number, { columns, paint, saved }: LiveOptions): string {
  const width = Math.max(8, Math.min(24, columns - 100));
  const filled = Math.round((event.step / totalSteps) * width);
  const bar = `${'█'.repeat(filled)}${'░'.repeat(width - filled)}`;
  const cells = [
    `${bar} ${event.step}/${totalSteps}`,
    `loss ${formatValue(event.loss)}`,
    `left ${formatDuration(event.etaSeconds)}`,
    `${formatCount(event.tokensPerSecond)} tok/s`,
    `lr ${formatRate(event.learningRate)}`,
    `grad ${event.gradientNorm === null ? 'overflow' : formatValue(event.gradientNorm)}`,
    `epoch ${event.epoch.toFixed(2)}`,
    ...(event.lossScale === undefined ? [] : [`scale ${event.lossScale}${event.skipped === true ? ' skipped' : ''}`]),
    ...(saved === undefined ? [] : [`saved ${saved}`]),
    `MFU ${formatShare(event.mfu)}`,
    formatBytes(event.residentBytes),
  ];
  while (cells.length > 1 && visibleWidth(cells.join('  ')) > columns - 1) cells.pop();
  const [first = '', ...others] = cells;
  return [paint.apply('cyan', first), ...others].join('  ');
}

export function renderEval(event: EvalEvent): string {
  return `eval at step ${event.step}  loss ${formatValue(event.loss)}  perplexity ${formatValue(event.perplexity)}  ` +
    `${plural(event.tokens, 'token')}  ${formatDuration(event.evalMs / 1000)}`;
}

export function renderCheckpoint(event: CheckpointEvent): string {
  return `checkpoint ${event.path}  ${formatBytes(event.bytes)}  ${formatDuration(event.saveMs / 1000)}`;
}

const END_WORDS: Readonly<Record<EndEvent['reason'], string>> = { finished: 'finished', interrupted: 'interrupted', 'memory-pressure': 'stopped for want of memory' };

export interface EndOptions {
  readonly runDirectory: string;
  /** Data to show in the command that evaluates. */
  readonly dataset: string | undefined;
}

/** Planned and measured memory and time side by side, where the model is, and what to type next. */
export function renderEnd(event: EndEvent, paint: Paint, { runDirectory, dataset }: EndOptions): string {
  const facts = [
    [END_WORDS[event.reason], `after step ${event.step}, ${formatDuration(event.seconds)}`],
    ['memory', memoryText(event)],
    ...stepFacts(event),
    ...(event.modelPath === null ? [] : [['model', event.modelPath + (event.modelStep === event.step ? '' : `  (weights of step ${event.modelStep}, the lowest evaluation loss)`)]]),
  ];
  const next = event.modelPath === null
    ? [resumeCommand(runDirectory, event.suggestedMemoryBytes)]
    : [
      `fulltune generate --model ${quoted(event.modelPath)} --prompt "…"`,
      `fulltune eval --model ${quoted(event.modelPath)} --dataset ${dataset === undefined ? 'FILE' : quoted(dataset)}`,
    ];
  return `\n${joinParts([formatTable(facts), [paint.apply('bold', 'next'), ...next.map((line) => `  ${line}`)].join('\n')])}`;
}

/** On a GPU what torch allocated stands beside the plan; what else was taken follows. */
function memoryText({ plannedBytes: planned, peakResidentBytes: resident, devicePeak: device, predictedStepMs }: EndEvent): string {
  const measured = device?.allocatedBytes ?? resident;
  const peak = `measured peak ${formatBytes(measured)}`;
  const more = device === undefined ? '' : ` allocated, ${formatBytes(device.reservedBytes)} reserved, ${formatBytes(device.deviceBytes)} in use on the device, ${formatBytes(resident)} resident`;
  // The embedded engine promises its figure and has a time for every plan; those of PyTorch are estimates, without a time on the CPU.
  const promise = device === undefined && predictedStepMs !== null ? 'at most' : 'about';
  return planned === null ? `${peak}${more}` : `planned ${promise} ${formatBytes(planned)}, ${peak} (${difference(measured, planned)})${more}`;
}

function stepFacts({ predictedStepMs: planned, measuredStepMs: measured }: EndEvent): readonly (readonly string[])[] {
  if (measured === null) return [];
  const text = `measured ${formatStep(measured)}`;
  return [['step', planned === null ? text : `planned ${formatStep(planned)}, ${text} (${difference(measured, planned)})`]];
}

function formatStep(milliseconds: number): string {
  return milliseconds < 1000 ? `${milliseconds.toPrecision(3)} ms` : formatDuration(milliseconds / 1000);
}

/** `+3.2 %` or `−5.3 %` of what was planned. */
function difference(measured: number, planned: number): string {
  const percent = (measured / planned - 1) * 100;
  return `${percent < 0 ? '−' : '+'}${Math.abs(percent).toFixed(1)} %`;
}

/** Goes on with a run; after memory pressure in what there is now. */
export function resumeCommand(runDirectory: string, suggestedMemoryBytes: number | null): string {
  return `fulltune resume ${quoted(runDirectory)}${suggestedMemoryBytes === null ? '' : ` --memory ${suggestedMemoryBytes / MIB}MiB`}`;
}

/** A word as a POSIX shell takes it. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
