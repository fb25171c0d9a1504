/** `fulltune plan`: for this machine, for devices that are elsewhere, or for what another trainer's config asks for. */

import { Option, type Command } from 'commander';
import { addImportFlags } from './import-flags.ts';
import { addConfigArguments, isEmbedded, KEYS_WITHOUT_DEVICE, planConfigOf } from './run-config.ts';
import { showPlan } from './show-plan.ts';
import type { ConfigureVerb, VerbContext } from './verb.ts';

const DEVICE_HELP = 'cpu or reference: the embedded engine on this machine. Else GPUs or TPUs to plan a run on PyTorch for, here or not: a name (rtx-4090, 8xH100-80GB, '
  + '2x8xA100-40GB for nodes × devices, m2-max:64GiB), or numbers (4x80GiB@990TFLOPS,3350GB/s). (default: cpu)';

export const configurePlan: ConfigureVerb = (command, context, run) => {
  // Its own --device first: the names of other trainers leave it alone then.
  command.addOption(new Option('--device <device>', DEVICE_HELP).helpGroup('Machine:'));
  addImportFlags(addConfigArguments(command, KEYS_WITHOUT_DEVICE));
  configurePlanOutput(command, context, run);
};

interface PlanFlags {
  readonly json?: true;
  readonly html?: string;
  readonly from?: string;
  readonly device?: string;
}

/** Flags and action of a verb that shows a plan; `command` takes a config already. */
export function configurePlanOutput(command: Command, context: VerbContext, run: Parameters<ConfigureVerb>[2]): void {
  command
    .option('--json', 'the plan as one JSON object on standard output')
    .option('--html <file>', 'write a page that shows where the memory goes; its name ends in .html')
    .action(() => run(async () => {
      const { json = false, html, from, device } = command.opts<PlanFlags>();
      if (from !== undefined) return (await import('./plan-from.ts')).planFrom(command, context, { json, html });
      if (device !== undefined && !isEmbedded(device)) {
        const config = await planConfigOf(command, context.terminal, KEYS_WITHOUT_DEVICE);
        return (await import('./show-device-plan.ts')).showDevicePlan(config, device, context, { json, html });
      }
      return showPlan(await planConfigOf(command, context.terminal), context, { json, html });
    }));
}
