/** Starts a run, shows its events, and turns Ctrl-C into a checkpoint and exit code 130: what `train` and `resume` have in common. */

import type { RunResult } from '../index.ts';
import type { RunEvent } from '../run/events.ts';
import { OUT_OF_MEMORY } from './exit-code.ts';
import { INTERRUPTED, isInterruption, withInterrupt } from './interrupt.ts';
import { quoted, resumeCommand } from './progress.ts';
import { jsonView, textView } from './run-view.ts';
import type { Terminal } from './terminal.ts';

/** As much of a TrainingRun as is shown. */
export interface FollowedRun extends AsyncIterable<RunEvent> {
  readonly result: Promise<RunResult>;
}

export interface FollowOptions {
  readonly json: boolean;
  /** For the evaluation command at the end. */
  readonly dataset?: string | undefined;
}

const EXIT_CODES: Readonly<Record<RunResult['reason'], number>> = { finished: 0, interrupted: INTERRUPTED, 'memory-pressure': OUT_OF_MEMORY };

/** The exit code: 0 finished, 130 interrupted, 75 stopped because others took the memory. Rejects with what the run rejects with. */
export function followRun(start: (signal: AbortSignal) => FollowedRun, terminal: Terminal, { json, dataset }: FollowOptions): Promise<number> {
  const view = json ? jsonView(terminal) : textView(terminal, { dataset });
  let directory: string | undefined;
  const onFirst = (): void => view.note(directory !== undefined ? 'finishing: writing a checkpoint … (press again to stop at once)' : 'stopping … (press again to stop at once)');
  const onSecond = (): void => view.note(directory === undefined ? 'stopped' : `stopped at once; from the newest checkpoint: fulltune resume ${quoted(directory)}`);
  return withInterrupt(async (signal) => {
    try {
      const run = start(signal);
      for await (const event of run) {
        if (event.kind === 'start') directory = event.runDirectory;
        view.show(event);
      }
      const { reason, runDirectory, suggestedMemoryBytes } = await run.result;
      if (reason !== 'finished' && json) view.note(resumeCommand(runDirectory, suggestedMemoryBytes));
      return EXIT_CODES[reason];
    } catch (error) {
      if (!isInterruption(error, signal)) throw error;
      view.note('interrupted before the first step');
      return INTERRUPTED;
    } finally {
      view.close();
    }
  }, { onFirst, onSecond });
}
