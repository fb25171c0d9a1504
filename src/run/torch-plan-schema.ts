/** Plans of PyTorch runs from outside: checked key by key, and for what no run can carry out. `worker/fulltune_worker/plan.py` checks the same. */

import { z } from 'zod';
import { FulltuneError } from '../base/errors.ts';
import { adamwFields, batchSchema, optimizerSchema, packingSchema, parsePlan } from './plan-schema.ts';
import type { TorchPlan } from './torch-plan.ts';
import type { TrainingPlan } from './training-plan.ts';

const count = z.int().min(1);

export const torchPlanSchema = z.strictObject({
  version: z.literal(1),
  engine: z.literal('torch'),
  worldSize: count,
  ranksPerNode: count,
  packing: packingSchema,
  batch: batchSchema,
  precision: z.enum(['f32', 'bf16', 'f16', 'bf16-weights']),
  loss: z.discriminatedUnion('kind', [z.strictObject({ kind: z.literal('whole') }), z.strictObject({ kind: z.literal('chunked'), tokens: count })]),
  optimizer: z.discriminatedUnion('kind', [...optimizerSchema.options, z.strictObject({ kind: z.literal('adamw_4bit'), ...adamwFields })]),
  recompute: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('none') }), z.strictObject({ kind: z.literal('selective') }), z.strictObject({ kind: z.literal('layers'), layers: count }),
  ]),
  update: z.enum(['after-backward', 'in-backward']),
  sharding: z.enum(['none', 'ddp', 'zero2', 'fsdp']),
  cpuOffload: z.boolean(),
  attention: z.enum(['sdpa', 'flex', 'eager']),
  compile: z.boolean(),
  maxGradNorm: z.number().min(0),
  frozen: z.array(z.string().min(1)).readonly(),
  seed: z.int().min(0),
  expected: z.strictObject({ peakBytes: z.number().min(0), stepMs: z.number().min(0).nullable() }).exactOptional(),
}) satisfies z.ZodType<TorchPlan>;

/** Whether `json` says that it is a plan for PyTorch. */
export function isTorchPlan(json: unknown): boolean {
  return typeof json === 'object' && json !== null && 'engine' in json && json.engine === 'torch';
}

/** Throws E_RUN, naming the key or the contradiction. `where` is the file. */
export function parseTorchPlan(json: unknown, where: string): TorchPlan {
  const version = typeof json === 'object' && json !== null && 'version' in json ? json.version : undefined;
  if (version !== 1) throw new FulltuneError('E_RUN', `'${where}' has version ${JSON.stringify(version)}; this fulltune reads version 1 of a plan for PyTorch`, { where });
  const parsed = torchPlanSchema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new FulltuneError('E_RUN', `'${where}' is not a plan for PyTorch: ${issue === undefined ? 'it cannot be read' : `${issue.path.join('.') || 'the whole'}: ${issue.message}`}`, {
      where, remedy: 'A plan is written by fulltune plan --device X --json and beside every run, as plan.json.',
    });
  }
  requireSoundPlan(parsed.data, where);
  return parsed.data;
}

/** A plan of either engine. */
export function parseAnyPlan(json: unknown, where: string): TrainingPlan | TorchPlan {
  return isTorchPlan(json) ? parseTorchPlan(json, where) : parsePlan(json, where);
}

/** Throws E_RUN for a plan that no run can carry out. */
export function requireSoundPlan(plan: TorchPlan, where: string): void {
  const contradiction = torchPlanContradiction(plan);
  if (contradiction !== undefined) throw new FulltuneError('E_RUN', `the plan for PyTorch contradicts itself: ${contradiction}`, { where, remedy: 'Change the setting that it names, or make a new plan.' });
}

/** What makes a plan impossible; undefined when nothing does. */
export function torchPlanContradiction(plan: TorchPlan): string | undefined {
  const { worldSize, ranksPerNode, packing, batch, precision, optimizer, sharding, cpuOffload, maxGradNorm } = plan;
  const slots = worldSize * batch.microBatchSize * batch.accumulationSteps;
  const inBackward = plan.update === 'in-backward';
  const sharded = sharding === 'zero2' || sharding === 'fsdp';
  const rounds = precision === 'bf16-weights';
  const checks: readonly (readonly [boolean, string])[] = [
    [worldSize % ranksPerNode !== 0, `worldSize ${worldSize} is no multiple of ranksPerNode ${ranksPerNode}`],
    [packing.packed && packing.rowLengths.length !== 1, 'packed rows have one length'],
    [packing.rowLengths.some((length, index) => index > 0 && length <= packing.rowLengths[index - 1]!), 'packing.rowLengths must ascend'],
    [slots < batch.rowsPerUpdate, `${batch.rowsPerUpdate} rows per update do not fit into ${slots} of all ranks, micro-batches and accumulation steps`],
    [sharding === 'none' && worldSize > 1, `sharding 'none' is for one rank; worldSize is ${worldSize}`],
    [cpuOffload && sharding !== 'fsdp', `cpuOffload needs sharding 'fsdp', not '${sharding}'`],
    [inBackward && worldSize > 1, `an update in backward is for one rank; worldSize is ${worldSize}`],
    [inBackward && sharded, 'an update in backward needs parameters that are not sharded'],
    [inBackward && batch.accumulationSteps > 1, 'an update in backward needs accumulationSteps 1: no gradient lives until the next micro-batch'],
    [inBackward && packing.rowLengths.length > 1, 'an update in backward needs rows of one length: an update would be several micro-batches'],
    [inBackward && maxGradNorm > 0, `an update in backward cannot clip to max_grad_norm ${maxGradNorm}: the norm is known after it`],
    [inBackward && precision === 'f16', 'an update in backward cannot skip a step, which a loss scale (precision f16) must be able to'],
    [optimizer.kind === 'adafactor' && rounds, 'adafactor cannot round stochastically, which precision bf16-weights needs'],
    [optimizer.kind === 'adafactor' && sharded, 'adafactor takes means over whole rows and columns, which sharded parameters do not have'],
  ];
  return checks.find(([broken]) => broken)?.[1];
}
