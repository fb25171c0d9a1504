/** `train --print`: the run's folder with everything that the worker reads, and the command or batch file that starts it where the GPUs are. */

import { basename, join, resolve } from 'node:path';
import { checkOutputDirectory, createRunDirectory } from '../files/run-directory.ts';
import type { RunConfig } from '../run/run-config.ts';
import type { TorchPlan } from '../run/torch-plan.ts';
import type { InputOptions } from '../train/prepare-inputs.ts';
import { WORKER_FILES, writeJob } from './job.ts';
import { prepareTorchRun } from './prepare-torch-run.ts';
import { WORKER_FOLDER } from './python.ts';
import { writeRun } from './torch-run.ts';
import { slurmScript, torchrunLine } from './torchrun.ts';

export type LaunchForm = 'torchrun' | 'slurm';

export interface PrintedLaunch {
  readonly runDirectory: string;
  /** A command line, the same on every node, or a file for sbatch. */
  readonly text: string;
}

export interface PrintOptions extends InputOptions {
  readonly form: LaunchForm;
  readonly plan?: TorchPlan;
}

/** The worker writes events, checkpoints and model/ by itself. What is installed here does not matter. */
export async function prepareLaunch(config: RunConfig, { form, ...options }: PrintOptions): Promise<PrintedLaunch> {
  if (config.output_dir !== undefined) checkOutputDirectory(config.output_dir);
  const prepared = await prepareTorchRun(config, { ...options, elsewhere: true });
  const { plan, settings, model } = prepared;
  const { path, lock } = createRunDirectory(config.output_dir, { model: model.name, dataset: config.dataset });
  try {
    writeRun(path, config, prepared);
    await writeJob(prepared, { runDirectory: path, checkpoint: undefined, alone: true });
  } finally {
    lock.release();
    prepared.data.train.close();
    prepared.data.evaluation?.close();
  }
  const runId = basename(resolve(path));
  const command = { plan, jobPath: join(resolve(path), WORKER_FILES, 'job.json'), rendezvous: settings.rdzv_endpoint ?? 'HOST:29500', runId };
  const text = form === 'torchrun' ? torchrunLine(prepared.python, WORKER_FOLDER, command) : slurmScript(prepared.python, WORKER_FOLDER, { ...command, name: runId });
  return { runDirectory: path, text };
}
