/** `train --print` and `resume --print`: the run's folder with everything that the worker reads, and the command or batch file that starts it where the GPUs are. */

import { basename, resolve } from 'node:path';
import { FulltuneError } from '../base/errors.ts';
import { checkOutputDirectory, createRunDirectory } from '../files/run-directory.ts';
import { lockRun } from '../files/run-lock.ts';
import type { RunConfig } from '../run/run-config.ts';
import type { TorchPlan } from '../run/torch-plan.ts';
import type { InputOptions } from '../train/prepare-inputs.ts';
import { jobPathOf, writeJob } from './job.ts';
import { prepareTorchRun, type PreparedTorchRun } from './prepare-torch-run.ts';
import { WORKER_FOLDER } from './python.ts';
import { isTorchRun, prepareResume, writeRun } from './torch-run.ts';
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

export interface ResumePrintOptions extends PrintOptions {
  readonly checkpoint?: string;
}

/** A new run. The worker writes events, checkpoints and model/ by itself; what is installed here does not matter. */
export async function prepareLaunch(config: RunConfig, { form, ...options }: PrintOptions): Promise<PrintedLaunch> {
  if (config.output_dir !== undefined) checkOutputDirectory(config.output_dir);
  const prepared = await prepareTorchRun(config, { ...options, elsewhere: true });
  const { path, lock } = createRunDirectory(config.output_dir, { model: prepared.model.name, dataset: config.dataset });
  try {
    writeRun(path, config, prepared);
    return await printed(path, prepared, undefined, form);
  } finally {
    lock.release();
  }
}

/** A run that goes on from its newest checkpoint. */
export async function prepareResumeLaunch(runDirectory: string, changes: Partial<RunConfig>, { form, checkpoint, ...options }: ResumePrintOptions): Promise<PrintedLaunch> {
  if (!isTorchRun(runDirectory)) throw new FulltuneError('E_RUN', `'${runDirectory}' is no run on PyTorch`, { where: runDirectory, remedy: 'Leave --print out.' });
  const lock = lockRun(runDirectory);
  try {
    const { plan: _, ...others } = options;
    const resumed = await prepareResume(runDirectory, changes, checkpoint === undefined ? {} : { checkpoint }, { ...others, elsewhere: true });
    return await printed(runDirectory, resumed.prepared, resumed.checkpoint?.path, form);
  } finally {
    lock.release();
  }
}

async function printed(runDirectory: string, prepared: PreparedTorchRun, checkpoint: string | undefined, form: LaunchForm): Promise<PrintedLaunch> {
  const { plan, settings, python, data } = prepared;
  const job = await writeJob(prepared, { runDirectory, checkpoint, alone: true });
  data.train.close();
  data.evaluation?.close();
  const runId = basename(resolve(runDirectory));
  const command = { plan, jobPath: jobPathOf(runDirectory), rendezvous: settings.rdzv_endpoint ?? 'HOST:29500', runId };
  const text = form === 'torchrun' ? torchrunLine(python, WORKER_FOLDER, command) : slurmScript(python, WORKER_FOLDER, { ...command, name: runId, controlFolder: job.paths.control });
  return { runDirectory, text };
}
