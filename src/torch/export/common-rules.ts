/** Rules that say the same of several trainers. */

import type { ExportedRun } from './exported-run.ts';
import type { Sheet } from './sheet.ts';
import { absent, forPlanningOnly, type PlanRules, type SettingRules } from './trainer.ts';

/** What no trainer on PyTorch has. */
/** What belongs to this program or to how a run is started. */
type MachineKey = 'memory' | 'allow' | 'device' | 'threads' | 'save_dtype' | 'engine' | 'python' | 'nproc_per_node' | 'nnodes' | 'rdzv_endpoint' | 'rank_timeout';

export function machineRules(title: string): Pick<SettingRules, MachineKey> {
  return {
    memory: absent('memory', `the plan was made for it; ${title} has no budget`, 'It takes what it needs, and stops when the device is full.'),
    allow: forPlanningOnly,
    device: absent('device', `${title} runs on what PyTorch finds`, 'An accelerator if there is one.'),
    engine: forPlanningOnly,
    python: absent('python', `${title} runs in the Python that starts it`, 'Start it with that Python.'),
    // In the command, and in what the batch is divided by.
    nproc_per_node: forPlanningOnly,
    nnodes: forPlanningOnly,
    rdzv_endpoint: absent('rdzv_endpoint', `${title} learns from its launcher where ranks meet`, 'Give it to torchrun, or the like of it to the launcher.'),
    rank_timeout: absent('rank_timeout', `${title} has no watch over its ranks`, 'A rank that hangs ends with the timeout of its collectives.'),
    threads: absent('threads', `${title} has no key for compute threads`, 'Set OMP_NUM_THREADS when you start it.'),
    save_dtype: ({ config, plan }, sheet) => {
      const held = plan.precision === 'bf16-weights' ? 'bfloat16' : 'float32';
      if (config.save_dtype !== undefined && config.save_dtype !== held) {
        sheet.lost(`save_dtype ${config.save_dtype}`, `${title} saves weights as it holds them, in ${held}`, 'Convert the finished model: AutoModelForCausalLM.from_pretrained(FOLDER, dtype=...).save_pretrained(NEW).');
      }
    },
  };
}

/** Said wherever weights in bfloat16 are trained by an optimizer that rounds to nearest. */
export function noStochasticRounding(title: string, sheet: Sheet): void {
  sheet.lost('bf16_weights true', `${title} rounds updates of bfloat16 weights to the nearest value, fulltune stochastically`,
    'Updates smaller than half a step of bfloat16 are lost: use bf16 with float32 weights if memory allows.');
}

/** Per-layer recompute, or nothing: for trainers that have no finer choice. */
export function layerwise(title: string, run: ExportedRun, sheet: Sheet): boolean {
  const { recompute } = run.plan;
  if (recompute.kind === 'selective') {
    sheet.lost('selective recompute', `${title} recomputes whole layers or nothing`, 'It recomputes every layer: less memory, about a fifth more time.');
  }
  return recompute.kind !== 'none';
}

export function inBackwardIsLost(title: string): PlanRules['update'] {
  return ({ plan }, sheet) => {
    if (plan.update === 'in-backward') {
      sheet.lost('optimizer_in_backward true', `${title} updates after backward`, 'All gradients exist at once: 4 bytes per parameter more (2 with bfloat16 weights).');
    }
  };
}

export function frozenIsLost(title: string): PlanRules['frozen'] {
  return ({ plan, config }, sheet) => {
    if (plan.frozen.length > 0) {
      sheet.lost(`freeze ${(config.freeze ?? plan.frozen.slice(0, 3)).join(', ')}`, `${title} has no key that freezes parameters by name`, `It trains them: ${plan.frozen.length} more tensors than the plan. Set requires_grad = False in a script of your own.`);
    }
  };
}

export function evaluates({ eval_dataset: data, eval_fraction: fraction }: ExportedRun['settings']): boolean {
  return data !== undefined || fraction > 0;
}

/** `torchrun` with the ranks of the run; empty for one. */
export function torchrun({ nodes, ranksPerNode }: ExportedRun): string {
  const many = nodes === 1 ? '--standalone' : `--nnodes ${nodes} --rdzv-backend c10d --rdzv-endpoint HOST:29500`;
  return `torchrun ${many} --nproc-per-node ${ranksPerNode}`;
}
