/** `fulltune plan`: also what `inspect memory` and `train --dry-run` do. There is one way to a plan. */

import { Option, type Command } from 'commander';
import type { PlanConfig, TrainingPlan } from '../index.ts';
import { USER_MISTAKE } from './exit-code.ts';
import { INTERRUPTED, isInterruption, withInterrupt } from './interrupt.ts';
import { renderPlan } from './memory-view.ts';
import { addConfigArguments, KEYS_WITHOUT_DEVICE, planConfigOf } from './run-config.ts';
import type { ConfigureVerb, VerbContext } from './verb.ts';

const DEVICE_HELP = 'cpu or reference: the embedded engine on this machine. Else GPUs or TPUs to plan a run on PyTorch for, here or not: a name (rtx-4090, 8xH100-80GB, '
  + '2x8xA100-40GB for nodes × devices, m2-max:64GiB), or numbers (4x80GiB@990TFLOPS,3350GB/s). (default: cpu)';

export const configurePlan: ConfigureVerb = (command, context, run) => {
  addConfigArguments(command, KEYS_WITHOUT_DEVICE)
    .addOption(new Option('--device <device>', DEVICE_HELP).helpGroup('Machine:'));
  configurePlanOutput(command, context, run);
};

interface PlanFlags {
  readonly json?: true;
  readonly html?: string;
  readonly device?: string;
}

/** Flags and action of a verb that shows a plan; `command` takes a config already. */
export function configurePlanOutput(command: Command, context: VerbContext, run: Parameters<ConfigureVerb>[2]): void {
  command
    .option('--json', 'the plan as one JSON object on standard output')
    .option('--html <file>', 'write a page that shows where the memory goes; its name ends in .html')
    .action(() => run(async () => {
      const { json = false, html, device } = command.opts<PlanFlags>();
      if (device !== undefined && !EMBEDDED.includes(device)) return showDevicePlan(await planConfigOf(command, KEYS_WITHOUT_DEVICE), device, context, { json, html });
      return showPlan(await planConfigOf(command), context, { json, html });
    }));
}

/** Devices of the embedded engine; any other name is one to plan a run on PyTorch for. */
const EMBEDDED: readonly string[] = ['cpu', 'reference'];

/** Prints the plan of a run on PyTorch: 0 when it fits, 2 when it does not. */
async function showDevicePlan(config: PlanConfig, device: string, { terminal, loadEngine }: VerbContext, { json, html }: Pick<PlanOutput, 'json' | 'html'>): Promise<number> {
  const pages = html === undefined ? undefined : await import('./memory-page-file.ts');
  if (html !== undefined) pages?.checkPagePath(html);
  const [{ renderDevicePlan }, engine] = await Promise.all([import('./device-plan-view.ts'), loadEngine()]);
  return withInterrupt(async (signal) => {
    try {
      const result = await engine.planForDevice(config, device, { signal });
      terminal.write(json ? `${JSON.stringify(result)}\n` : renderDevicePlan(result, terminal.paint, terminal.live ? terminal.columns : Infinity));
      if (html !== undefined) {
        pages?.writeDevicePage(html, result);
        terminal.writeError(`the memory page is ${html}\n`);
      }
      return result.kind === 'fits' ? 0 : USER_MISTAKE;
    } catch (error) {
      if (!isInterruption(error, signal)) throw error;
      return INTERRUPTED;
    }
  }, { onFirst: () => terminal.writeError('stopping … (press again to stop at once)\n') });
}

export interface PlanOutput {
  readonly json: boolean;
  /** The file to write the memory page to. */
  readonly html?: string | undefined;
  /** Show this plan instead of making one. */
  readonly plan?: TrainingPlan;
}

/** Prints the plan: 0 when it fits, 2 when it does not. Leaves nothing on disk but the page that is asked for. */
export async function showPlan(config: PlanConfig, { terminal, loadEngine }: VerbContext, { json, html, plan }: PlanOutput): Promise<number> {
  const pages = html === undefined ? undefined : await import('./memory-page-file.ts');
  if (html !== undefined) pages?.checkPagePath(html);
  const engine = await loadEngine();
  return withInterrupt(async (signal) => {
    try {
      const result = await engine.plan(config, { signal, ...(html === undefined ? {} : { picture: true }), ...(plan === undefined ? {} : { plan }) });
      terminal.write(json ? `${JSON.stringify({ ...result, picture: undefined })}\n` : renderPlan(result, terminal.paint));
      if (html !== undefined) {
        pages?.writeMemoryPage(html, result);
        terminal.writeError(`the memory page is ${html}\n`);
      }
      return result.kind === 'fits' ? 0 : USER_MISTAKE;
    } catch (error) {
      if (!isInterruption(error, signal)) throw error;
      return INTERRUPTED;
    }
  }, { onFirst: () => terminal.writeError('stopping … (press again to stop at once)\n') });
}
