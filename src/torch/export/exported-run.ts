/** What is exported: a plan for PyTorch, the settings of the run, and how it is spread over ranks, with rows per update kept. */

import { FulltuneError } from '../../base/errors.ts';
import { resolveSettings } from '../../run/resolve-settings.ts';
import type { RunConfig, Settings } from '../../run/run-config.ts';
import type { TorchPlan } from '../../run/torch-plan.ts';
import type { DataLayout } from './data-layout.ts';

/** How the ranks share the work. `fsdp` is FSDP2; `tpu` is PyTorch/XLA, which only accelerate has. */
export const DISTRIBUTED = ['none', 'ddp', 'fsdp', 'deepspeed', 'tpu'] as const;
export type Distributed = (typeof DISTRIBUTED)[number];

/** Besides what a plan for PyTorch has: what the embedded engine offloads to a file. */
export interface ExportPlan extends TorchPlan {
  /** Optimizer state out of the memory of the device. */
  readonly offloadedState: boolean;
  /** Saved activations out of it. */
  readonly offloadedActivations: boolean;
}

export interface Spread {
  readonly nodes?: number | undefined;
  readonly ranksPerNode?: number | undefined;
  readonly distributed?: Distributed | undefined;
}

export interface ExportedRun {
  readonly plan: ExportPlan;
  /** What the user set. */
  readonly config: Partial<RunConfig>;
  /** With defaults; `model` and `dataset` are empty where the config does not name them. */
  readonly settings: Settings;
  readonly nodes: number;
  readonly ranksPerNode: number;
  readonly ranks: number;
  readonly microBatchSize: number;
  readonly accumulationSteps: number;
  /** microBatchSize × accumulationSteps × ranks, always. */
  readonly rowsPerUpdate: number;
  /** The longest, in tokens. */
  readonly rowLength: number;
  readonly distributed: Distributed;
  /** Updates of the whole run; undefined where neither the plan's output nor max_steps says so. */
  readonly totalSteps: number | undefined;
  readonly layout: DataLayout | undefined;
  /** Where the config is going to lie; the present folder when it is printed. */
  readonly folder: string;
}

/** Throws E_CONFIG when the rows of an update cannot be shared equally. */
export function exportedRun({ plan, config, spread, totalSteps, layout, folder }: {
  readonly plan: ExportPlan; readonly config: Partial<RunConfig>; readonly spread: Spread;
  readonly totalSteps: number | undefined; readonly layout: DataLayout | undefined; readonly folder: string;
}): ExportedRun {
  const settings = resolveSettings({ ...config, model: config.model ?? '', dataset: config.dataset ?? '' });
  const ranksPerNode = spread.ranksPerNode ?? plan.ranksPerNode;
  const nodes = spread.nodes ?? (spread.ranksPerNode === undefined ? plan.worldSize / plan.ranksPerNode : 1);
  const ranks = nodes * ranksPerNode;
  const distributed = spread.distributed ?? sharedBy(plan, ranks);
  if (distributed === 'none' && ranks > 1) {
    throw new FulltuneError('E_CONFIG', `--distributed none means one rank; there are ${ranks}`, { where: '--distributed', remedy: 'Use ddp, fsdp or deepspeed.' });
  }
  const { rowsPerUpdate } = plan.batch;
  if (rowsPerUpdate % ranks !== 0) {
    const fits = [Math.max(1, Math.floor(rowsPerUpdate / ranks)) * ranks, Math.ceil(rowsPerUpdate / ranks) * ranks];
    throw new FulltuneError('E_CONFIG', `${rowsPerUpdate} rows per update cannot be shared equally among ${ranks} ranks`, {
      where: 'plan', remedy: `Plan with --train-batch-size ${[...new Set(fits)].join(' or ')}, or use another number of ranks (--nproc-per-node, --nnodes).`,
    });
  }
  const perRank = rowsPerUpdate / ranks;
  const microBatchSize = largestDivisor(perRank, plan.batch.microBatchSize);
  return {
    plan, config, settings, nodes, ranksPerNode, ranks, microBatchSize, accumulationSteps: perRank / microBatchSize, rowsPerUpdate,
    rowLength: plan.packing.rowLengths.at(-1)!, distributed, totalSteps: settings.max_steps ?? totalSteps, layout, folder,
  };
}

/** No micro-batch is filled up with ignored rows: the other trainers would draw more rows instead. */
function largestDivisor(rows: number, most: number): number {
  for (let size = Math.min(rows, most); size > 1; size--) if (rows % size === 0) return size;
  return 1;
}

function sharedBy(plan: TorchPlan, ranks: number): Distributed {
  if (plan.sharding === 'fsdp' || plan.sharding === 'zero2') return 'fsdp';
  return ranks > 1 ? 'ddp' : 'none';
}
