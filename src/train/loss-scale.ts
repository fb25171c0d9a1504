/**
 * Dynamic loss scaling (Micikevicius et al. 2018): gradients in f16 are computed multiplied by a power of two, so that small ones do not become
 * zero. An update whose gradients overflow is skipped and the scale halved; after a long run of good ones it doubles. Defaults and order
 * of events are those of torch.amp.GradScaler.
 */

import type { UpdateResult, UpdateScalars } from './run-update.ts';

/** Stored in trainer_state.json. */
export interface LossScaleState {
  /** A power of two. */
  readonly scale: number;
  /** Updates applied since the scale changed last. */
  readonly goodSteps: number;
  /** Updates skipped in the whole run. */
  readonly skipped: number;
}

export const INITIAL_LOSS_SCALE: LossScaleState = { scale: 65536, goodSteps: 0, skipped: 0 };

const GROWTH_FACTOR = 2;
const BACKOFF_FACTOR = 0.5;
const GROWTH_INTERVAL = 2000;
/** Gradients that overflow even so come from something that no scale mends. */
const LEAST_SCALE = 2 ** -14;
/** The scale travels as f32. */
const GREATEST_SCALE = 2 ** 127;

/** The state after an update whose gradients were finite (and which was applied), or not (and which was skipped). */
export function nextLossScale({ scale, goodSteps, skipped }: LossScaleState, update: { readonly finite: boolean }): LossScaleState {
  if (!update.finite) return { scale: scale * BACKOFF_FACTOR, goodSteps: 0, skipped: skipped + 1 };
  if (goodSteps + 1 < GROWTH_INTERVAL) return { scale, goodSteps: goodSteps + 1, skipped };
  return { scale: Math.min(GREATEST_SCALE, scale * GROWTH_FACTOR), goodSteps: 0, skipped };
}

/** What became of an update, once the loss scale has had its say: `skipped` changed nothing, and the run goes on with the next rows. */
export type UpdateOutcome = UpdateResult | { readonly kind: 'skipped'; readonly loss: number; readonly gradientNorm: null };

/** What a run asks of its loss scale; the same questions whether it has one or not. */
export interface LossScaling {
  /** For the checkpoint; undefined without a loss scale. */
  readonly state: LossScaleState | undefined;
  /** The inputs of the update that makes the run's step `step`, 1 for the first. The optimizer counts only updates that were applied. */
  scalars(step: number): Pick<UpdateScalars, 'step' | 'lossScale'>;
  /** Takes note of a result, and decides what gradients that are not finite mean. */
  judge(result: UpdateResult): UpdateOutcome;
}

/** `scales`: whether the plan multiplies the loss; `state`: where an earlier part of the run stopped. */
export function lossScaling({ scales, state }: { readonly scales: boolean; readonly state: LossScaleState | undefined }): LossScaling {
  return scales ? dynamicLossScaling(state ?? INITIAL_LOSS_SCALE) : NO_LOSS_SCALING;
}

const NO_LOSS_SCALING: LossScaling = { state: undefined, scalars: (step) => ({ step }), judge: (result) => result };

function dynamicLossScaling(initial: LossScaleState): LossScaling {
  let state = initial;
  return {
    get state() {
      return state;
    },
    scalars: (step) => ({ step: step - state.skipped, lossScale: state.scale }),
    judge(result) {
      if (result.kind === 'done') state = nextLossScale(state, { finite: true });
      // The loss itself is not scaled: when that is not finite, or the scale is at its end, another scale would not help.
      if (result.kind !== 'not-finite') return result;
      if (!Number.isFinite(result.loss) || state.scale <= LEAST_SCALE) {
        return { ...result, hint: `f16 holds numbers up to 65504, and the loss scale is ${state.scale}: try --bf16 instead of --fp16.` };
      }
      state = nextLossScale(state, { finite: false });
      return { kind: 'skipped', loss: result.loss, gradientNorm: null };
    },
  };
}
