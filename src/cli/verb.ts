/** What a verb of the command line is: a commander command, filled in when it is used, whose action gives an exit code. */

import type { Command } from 'commander';
import type * as api from '../index.ts';
import type { Terminal } from './terminal.ts';

/** The public API. Loaded only when a verb needs it, so that help and mistakes in flags are quick. */
export type Engine = Pick<typeof api, 'plan' | 'planForDevice' | 'train' | 'resume' | 'loadModel' | 'initModel' | 'inspectData' | 'inspectModel' | 'doctor' | 'exportPlan' | 'readPlanSource' | 'importConfig' | 'chooseEngine' | 'torchDoctor' | 'planOnTorch' | 'prepareLaunch' | 'prepareResumeLaunch'>;

export interface VerbContext {
  readonly terminal: Terminal;
  loadEngine(): Promise<Engine>;
}

/**
 * Declares arguments and options on `command` and calls `run` with the work to do.
 * `run`'s promise is the exit code; see exit-code.ts for what a throw means.
 */
export type ConfigureVerb = (command: Command, context: VerbContext, run: (work: () => Promise<number>) => void) => void;
