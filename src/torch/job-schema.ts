/** The job that a worker carries out, as a file: one versioned form, checked here and, key by key alike, in `worker/fulltune_worker/job.py`. */

import { z } from 'zod';
import type { StartEvent } from '../run/events.ts';
import { torchPlanSchema } from '../run/torch-plan-schema.ts';

const text = z.string().min(1);
const count = z.int().min(1);

export const jobSchema = z.strictObject({
  format: z.literal('fulltune-torch-job'),
  version: z.literal(1),
  settings: z.strictObject({
    logging_steps: count, save_total_limit: count, load_best_model_at_end: z.boolean(), early_stopping_patience: count.nullable(),
  }),
  plan: torchPlanSchema,
  model: z.strictObject({
    /** Folder of the base model. */
    path: text,
    /** Folder with all files of the finished model but its weights. */
    files: text,
    /** In the order in which they are written, with their names in the weight files. */
    parameters: z.array(z.strictObject({ name: text, dtype: z.enum(['float32', 'bfloat16', 'float16']) })).min(1).readonly(),
    flopsPerToken: z.number().min(0),
  }),
  paths: z.strictObject({ runDirectory: text, tokenFile: text, schedule: text, evaluation: text.nullable(), events: text, control: text }),
  device: z.enum(['auto', 'cpu', 'cuda', 'mps']),
  threads: z.int().min(1).max(1024).nullable(),
  /** Longest wait for another rank. */
  timeoutSeconds: z.number().min(1),
  /** Who started the worker, which stops when that is gone; null: nobody watches. */
  launcher: z.strictObject({ pid: count, host: text }).nullable(),
  /** Folder to go on from; null: the base model. */
  checkpoint: text.nullable(),
  start: z.looseObject({ kind: z.literal('start'), startStep: z.int().min(0), totalSteps: count }) as unknown as z.ZodType<StartEvent>,
});

export type TorchJob = z.output<typeof jobSchema>;
