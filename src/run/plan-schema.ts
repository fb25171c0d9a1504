/** Training plans from outside: checked key by key, and those of version 1 (before recompute, precision and offload) brought up to date. */

import { z } from 'zod';
import { FulltuneError } from '../base/errors.ts';
import { plainPlan, type TrainingPlan } from './training-plan.ts';

const count = z.int().min(1);
const share = z.number().min(0).lt(1);
const weightDecay = z.number().min(0);

/** What every AdamW has, whatever its moments are stored in. */
export const adamwFields = { beta1: share, beta2: share, epsilon: z.number().gt(0), weightDecay } as const;

export const optimizerSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('adamw'), ...adamwFields }),
  z.strictObject({ kind: z.literal('adamw_8bit'), ...adamwFields, embeddings: z.boolean() }),
  z.strictObject({ kind: z.literal('adafactor'), beta1: share, weightDecay }),
  z.strictObject({ kind: z.literal('lion'), beta1: share, beta2: share, weightDecay }),
  z.strictObject({ kind: z.literal('sgd'), momentum: share, weightDecay }),
]);
export const packingSchema = z.strictObject({ packed: z.boolean(), rowLengths: z.array(count).min(1).readonly() });
export const batchSchema = z.strictObject({ rowsPerUpdate: count, microBatchSize: count, accumulationSteps: count });

const planSchema = z.strictObject({
  version: z.literal(2),
  packing: packingSchema,
  batch: batchSchema,
  precision: z.strictObject({ activations: z.enum(['f32', 'bf16', 'f16']), weights: z.enum(['f32', 'bf16']) }),
  loss: z.discriminatedUnion('kind', [z.strictObject({ kind: z.literal('whole') }), z.strictObject({ kind: z.literal('chunked'), blocks: count })]),
  optimizer: optimizerSchema,
  recompute: z.strictObject({ dropped: z.array(z.strictObject({ value: z.string(), layers: count })).readonly() }),
  update: z.enum(['after-backward', 'in-backward']),
  offload: z.strictObject({ optimizerState: z.boolean(), activationLayers: z.int().min(0) }),
  maxGradNorm: z.number().min(0),
  frozen: z.array(z.string()).readonly(),
  seed: z.int().min(0),
}) satisfies z.ZodType<TrainingPlan>;

/** Throws E_RUN, naming the key, for anything that is no training plan. `where` is the file. */
export function parsePlan(json: unknown, where: string): TrainingPlan {
  const version = typeof json === 'object' && json !== null && 'version' in json ? json.version : undefined;
  if (version === undefined) throw new FulltuneError('E_RUN', `'${where}' is not a training plan`, { where });
  if (version !== 1 && version !== 2) {
    throw new FulltuneError('E_RUN', `'${where}' has version ${JSON.stringify(version)}; this fulltune reads versions 1 and 2`, { where });
  }
  const whole = version === 1 ? { ...plainPlan({ rowLength: 1 }), ...(json as object), version: 2 } : json;
  const missing = version === 1 ? ['packing', 'batch', 'optimizer', 'maxGradNorm', 'frozen'].find((key) => !(key in (json as object))) : undefined;
  if (missing !== undefined) throw new FulltuneError('E_RUN', `'${where}' is not a training plan: it has no '${missing}'`, { where });
  const parsed = planSchema.safeParse(whole);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new FulltuneError('E_RUN', `'${where}' is not a training plan: ${issue === undefined ? 'it cannot be read' : `${issue.path.join('.') || 'the whole'}: ${issue.message}`}`, {
    where, remedy: 'A plan is written by fulltune plan --json and beside every run, as plan.json.',
  });
}
