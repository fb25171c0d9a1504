/** The command that starts the ranks: torchrun, or the worker alone where there is one rank. */

import type { TorchPlan } from '../run/torch-plan.ts';

export interface CommandOptions {
  readonly plan: Pick<TorchPlan, 'worldSize' | 'ranksPerNode'>;
  readonly jobPath: string;
  /** host:port where several nodes meet. */
  readonly rendezvous: string | undefined;
  /** The same on all nodes of one run. */
  readonly runId: string;
}

/** The words after the Python command. */
export function workerWords({ plan, jobPath, rendezvous, runId }: CommandOptions): readonly string[] {
  const worker = ['-m', 'fulltune_worker', jobPath];
  if (plan.worldSize === 1) return worker;
  const nodes = plan.worldSize / plan.ranksPerNode;
  const meeting = nodes === 1 ? ['--standalone'] : ['--nnodes', String(nodes), '--rdzv-backend', 'c10d', '--rdzv-endpoint', rendezvous!, '--rdzv-id', runId];
  return ['-m', 'torch.distributed.run', '--nproc-per-node', String(plan.ranksPerNode), ...meeting, ...worker];
}

/** A command line for a person: on every node the same. */
export function torchrunLine(python: string, workerFolder: string, options: CommandOptions): string {
  return [`PYTHONPATH=${shellWord(workerFolder)}`, shellWord(python), ...workerWords(options).map(shellWord)].join(' ');
}

export interface SlurmOptions extends CommandOptions {
  readonly name: string;
  /** Where a file called `stop` asks the ranks for a checkpoint and their end. */
  readonly controlFolder: string;
}

/** A batch file for Slurm: `sbatch FILE`. Five minutes before its time is over the run writes a checkpoint and stops. */
export function slurmScript(python: string, workerFolder: string, { name, controlFolder, ...options }: SlurmOptions): string {
  const { worldSize, ranksPerNode } = options.plan;
  const nodes = worldSize / ranksPerNode;
  const words = workerWords({ ...options, rendezvous: 'HEAD' }).map((word) => (word === 'HEAD' ? '"$head:29500"' : shellWord(word)));
  return [
    '#!/bin/bash',
    `#SBATCH --job-name=${name.replace(/[^\w.-]+/g, '-')}`,
    `#SBATCH --nodes=${nodes}`,
    '#SBATCH --ntasks-per-node=1',
    `#SBATCH --gpus-per-node=${ranksPerNode}`,
    '#SBATCH --time=24:00:00',
    '#SBATCH --signal=B:USR1@300',
    ...(nodes === 1 ? [] : ['head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)']),
    `export PYTHONPATH=${shellWord(workerFolder)} PYTHONSAFEPATH=1 HF_HUB_OFFLINE=1`,
    `trap ${shellWord(`touch ${shellWord(`${controlFolder}/stop`)}`)} USR1`,
    `srun ${[shellWord(python), ...words].join(' ')} &`,
    'worker=$!',
    'while kill -0 "$worker" 2>/dev/null; do wait "$worker"; code=$?; done',
    'exit "$code"',
    '',
  ].join('\n');
}

function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
