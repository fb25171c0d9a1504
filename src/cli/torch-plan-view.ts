/** A plan for PyTorch as a table, and the command that starts a run elsewhere. */

import { FulltuneError } from '../base/errors.ts';
import { formatTable } from '../base/table.ts';
import type { LaunchForm, PrintedLaunch, RunConfig, TorchPlan } from '../index.ts';
import { INTERRUPTED, isInterruption, withInterrupt } from './interrupt.ts';
import { batchText, joinParts, renderChoices } from './memory-view.ts';
import { formatCount } from './numbers.ts';
import type { Engine, VerbContext } from './verb.ts';

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

/** `--print`: the command or file on standard output, what to do with it on standard error. */
export function printLaunch(
  { terminal, loadEngine }: VerbContext, form: LaunchForm, prepare: (engine: Engine, signal: AbortSignal) => Promise<PrintedLaunch>,
): Promise<number> {
  return interruptible(terminal.writeError, async (signal) => {
    const { runDirectory, text } = await prepare(await loadEngine(), signal);
    terminal.write(`${text.trimEnd()}\n`);
    const use = form === 'slurm' ? 'give this to sbatch' : 'run this on every node';
    terminal.writeError(`the run is in ${runDirectory}; ${use}, where that folder is shared; after an interruption: fulltune resume ${runDirectory} --print ${form}\n`);
  });
}

/** What `--print` was given. Throws E_CONFIG. */
export function launchForm(print: string | true): LaunchForm {
  if (print === true || print === 'torchrun') return 'torchrun';
  if (print === 'slurm') return 'slurm';
  throw new FulltuneError('E_CONFIG', `--print is '${print}'; it must be torchrun or slurm`, { where: 'flags' });
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
