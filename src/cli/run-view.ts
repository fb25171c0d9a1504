/** Shows a run as it goes: a line that is written over on a terminal, plain lines elsewhere, events as JSON lines where asked for. */

import type { CheckpointEvent, RunEvent } from '../run/events.ts';
import { renderCheckpoint, renderEnd, renderEval, renderLiveStep, renderStart, renderStep } from './progress.ts';
import type { Terminal } from './terminal.ts';

const ERASE_LINE = '\r\u001b[2K';
/** Reading that takes longer is told about, once in so long, where no line can be written over. */
const PROGRESS_LINE_MS = 10_000;

/** Where events go. */
export interface RunView {
  show(event: RunEvent): void;
  /** A word to the user in between. */
  note(text: string): void;
  /** Leaves the cursor at the start of an empty line. */
  close(): void;
}

/** One JSON object per line on standard output, and nothing else there. */
export function jsonView(terminal: Terminal): RunView {
  return {
    show: (event) => terminal.write(`${JSON.stringify(event)}\n`),
    note: (text) => terminal.writeError(`${text}\n`),
    close: () => undefined,
  };
}

/** `dataset` appears in the evaluation command at the end. */
export function textView(terminal: Terminal, { dataset }: { readonly dataset: string | undefined }): RunView {
  let live = false;
  let totalSteps = 0;
  let runDirectory = '';
  let saved: number | undefined;
  let waiting: CheckpointEvent | undefined;
  let afterCheckpoint = false;
  let toldAt = performance.now();
  const over = (text: string): void => {
    terminal.write(ERASE_LINE + text);
    live = true;
  };
  const write = (text: string): void => {
    terminal.write(`${live ? ERASE_LINE : ''}${text}\n`);
    live = false;
  };
  const flush = (): void => {
    if (waiting !== undefined) write(renderCheckpoint(waiting));
    waiting = undefined;
  };
  const line = (text: string): void => {
    flush();
    afterCheckpoint = false;
    write(text);
  };
  // Of checkpoints with no other line between them the first and the last are shown: short epochs would fill the screen with them.
  const checkpoint = (event: CheckpointEvent): void => {
    saved = event.step;
    if (afterCheckpoint) waiting = event;
    else write(renderCheckpoint(event));
    afterCheckpoint = true;
  };
  if (terminal.live) over(terminal.paint.apply('dim', 'reading model and data …'));
  const showProgress = (text: string): void => {
    if (terminal.live) return over(terminal.paint.apply('dim', text));
    if (performance.now() - toldAt < PROGRESS_LINE_MS) return;
    toldAt = performance.now();
    line(text);
  };
  const show = (event: RunEvent): void => {
    switch (event.kind) {
      case 'progress':
        return showProgress(`tokenising ${event.dataset}  ${Math.floor((100 * event.doneBytes) / Math.max(1, event.totalBytes))} %`);
      case 'start':
        ({ totalSteps, runDirectory } = event);
        return line(renderStart(event, terminal.paint));
      case 'step':
        return terminal.live ? over(renderLiveStep(event, totalSteps, { columns: terminal.columns, paint: terminal.paint, saved })) : line(renderStep(event, totalSteps));
      case 'eval':
        return line(renderEval(event));
      case 'checkpoint':
        return checkpoint(event);
      case 'health':
        return; // what is bad about it comes as a warning
      case 'warning':
        return line(`${terminal.paint.apply('yellow', 'warning')}  ${event.message}`);
      case 'end':
        if (live) terminal.write('\n'); // the last step stays
        live = false;
        return line(renderEnd(event, terminal.paint, { runDirectory, dataset }).trimEnd());
      default:
        return event satisfies never;
    }
  };
  return {
    show,
    note: line,
    close: () => {
      if (live) terminal.write(ERASE_LINE);
      live = false;
      flush();
    },
  };
}
