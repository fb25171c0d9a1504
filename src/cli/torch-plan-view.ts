/** A plan for PyTorch as a table, and the command that starts a run elsewhere. */

import { formatTable } from '../base/table.ts';
import type { RunConfig, TorchPlan } from '../index.ts';
import { INTERRUPTED, isInterruption, withInterrupt } from './interrupt.ts';
import { batchText, joinParts, renderChoices } from './memory-view.ts';
import { formatCount } from './numbers.ts';
import type { VerbContext } from './verb.ts';

/** `train --engine torch --dry-run`: 0; leaves nothing on disk. */
export function showTorchPlan(config: RunConfig, { terminal, loadEngine }: VerbContext, { json, plan }: { readonly json: boolean; readonly plan?: TorchPlan }): Promise<number> {
  return interruptible(terminal.writeError, async (signal) => {
    const { planOnTorch } = await loadEngine();
    const result = await planOnTorch(config, { signal, ...(plan === undefined ? {} : { plan }) });
    const { paint } = terminal;
    const text = joinParts([
      formatTable([['model', `${result.model.name} (${result.model.type})`], ['engine', 'torch'], ['batch', batchText({ ...result.plan.batch, ranks: result.plan.worldSize })], ['steps', formatCount(result.totalSteps)]]),
      `${paint.apply('bold', 'plan')}\n${formatTable(result.techniques.map(({ key, value }) => [key, value]), { indent: '  ' })}`,
      renderChoices(result.choices, paint),
    ]);
    terminal.write(json ? `${JSON.stringify(result)}\n` : text);
  });
}

/** `train --print`: the command or file on standard output, where it belongs on standard error. */
export function printLaunch(config: RunConfig, { terminal, loadEngine }: VerbContext, { form, plan }: { readonly form: 'torchrun' | 'slurm'; readonly plan?: TorchPlan }): Promise<number> {
  return interruptible(terminal.writeError, async (signal) => {
    const { prepareLaunch } = await loadEngine();
    const { runDirectory, text } = await prepareLaunch(config, { form, signal, ...(plan === undefined ? {} : { plan }) });
    terminal.write(`${text.trimEnd()}\n`);
    terminal.writeError(`the run is in ${runDirectory}; ${form === 'slurm' ? 'give this to sbatch' : 'run this on every node'}, where that folder is shared; then: fulltune resume ${runDirectory} goes on with it\n`);
  });
}

function interruptible(say: (text: string) => void, work: (signal: AbortSignal) => Promise<void>): Promise<number> {
  return withInterrupt(async (signal) => {
    try {
      await work(signal);
      return 0;
    } catch (error) {
      if (!isInterruption(error, signal)) throw error;
      return INTERRUPTED;
    }
  }, { onFirst: () => say('stopping … (press again to stop at once)\n') });
}
