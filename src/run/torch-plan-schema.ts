/** Plans of a run on PyTorch from outside, checked key by key. */

import { z } from 'zod';
import { FulltuneError } from '../base/errors.ts';
import { batchSchema, optimizerSchema, packingSchema, parsePlan } from './plan-schema.ts';
import type { TorchPlan } from './torch-plan.ts';
import type { TrainingPlan } from './training-plan.ts';

const count = z.int().min(1);

const torchPlanSchema = z.strictObject({
  version: z.literal(1),
  engine: z.literal('torch'),
  worldSize: count,
  ranksPerNode: count,
  packing: packingSchema,
  batch: batchSchema,
  precision: z.enum(['f32', 'bf16', 'f16', 'bf16-weights']),
  loss: z.discriminatedUnion('kind', [z.strictObject({ kind: z.literal('whole') }), z.strictObject({ kind: z.literal('chunked'), tokens: count })]),
  optimizer: optimizerSchema,
  recompute: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('none') }), z.strictObject({ kind: z.literal('selective') }), z.strictObject({ kind: z.literal('layers'), layers: count }),
  ]),
  update: z.enum(['after-backward', 'in-backward']),
  sharding: z.enum(['none', 'ddp', 'zero2', 'fsdp']),
  cpuOffload: z.boolean(),
  attention: z.enum(['sdpa', 'flex', 'eager']),
  compile: z.boolean(),
  maxGradNorm: z.number().min(0),
  frozen: z.array(z.string()).readonly(),
  seed: z.int().min(0),
  expected: z.strictObject({ peakBytes: z.number(), stepMs: z.number().nullable() }).exactOptional(),
}) satisfies z.ZodType<TorchPlan>;

/** Throws E_RUN, naming the key, for anything that is no plan for PyTorch. `where` is the file. */
export function parseTorchPlan(json: unknown, where: string): TorchPlan {
  const parsed = torchPlanSchema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new FulltuneError('E_RUN', `'${where}' is not a plan for PyTorch: ${issue === undefined ? 'it cannot be read' : `${issue.path.join('.') || 'the whole'}: ${issue.message}`}`, {
      where, remedy: 'Such a plan is written by fulltune plan --device GPU --json.',
    });
  }
  const { worldSize, ranksPerNode } = parsed.data;
  if (worldSize % ranksPerNode !== 0) throw new FulltuneError('E_RUN', `'${where}' is not a plan for PyTorch: worldSize ${worldSize} is no multiple of ranksPerNode ${ranksPerNode}`, { where });
  return parsed.data;
}

/** A plan of either engine. */
export function parseAnyPlan(json: unknown, where: string): TrainingPlan | TorchPlan {
  return typeof json === 'object' && json !== null && 'engine' in json ? parseTorchPlan(json, where) : parsePlan(json, where);
}
