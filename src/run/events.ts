/** What a run tells the world, one tagged union: the command line, run files and every watcher read these and nothing else. */

import type { StorageClass } from './storage-class.ts';

export interface MemorySummary {
  readonly arenaBytes: number;
  readonly peakLiveBytes: number;
  /** Bytes at the peak, by storage class. */
  readonly atPeak: Readonly<Partial<Record<StorageClass, number>>>;
  /** Arena plus the process constant. */
  readonly forecastBytes: number;
}

/** A printed automatic choice: `max_length 512: the longest document has 497 tokens`. */
export interface Choice {
  readonly key: string;
  readonly value: string;
  readonly reason: string;
}

/** Before the run: how far the data are read. Not stored. */
export interface ProgressEvent {
  readonly kind: 'progress';
  readonly what: 'tokenising';
  readonly dataset: string;
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface StartEvent {
  readonly kind: 'start';
  readonly runDirectory: string;
  readonly model: { readonly name: string; readonly type: string; readonly parameters: number; readonly trained: number };
  readonly data: {
    readonly documents: number; readonly tokens: number; readonly trainedTokens: number;
    readonly cut: number; readonly split: number; readonly rowsPerEpoch: number; readonly rowLength: number;
  };
  readonly batch: { readonly rowsPerUpdate: number; readonly microBatchSize: number; readonly accumulationSteps: number; readonly ranks?: number };
  readonly totalSteps: number;
  readonly startStep: number;
  readonly device: string;
  /** Null on PyTorch: nothing of it is placed before the run. */
  readonly memory: MemorySummary | null;
  readonly choices: readonly Choice[];
  /** What each technique does in this plan. */
  readonly techniques: readonly string[];
  readonly notices: readonly string[];
  /** One training row as text pieces, to be shown with trained tokens marked. */
  readonly example: readonly { readonly text: string; readonly trained: boolean }[];
}

export interface StepEvent {
  readonly kind: 'step';
  readonly step: number;
  readonly epoch: number;
  /** Mean loss per trained token of the update, nats. */
  readonly loss: number;
  /** Before clipping; null when the gradients overflowed under the loss scale. */
  readonly gradientNorm: number | null;
  readonly learningRate: number;
  /** Trained and untrained tokens of the update, without filling. */
  readonly tokens: number;
  readonly trainedTokens: number;
  readonly stepMs: number;
  readonly tokensPerSecond: number;
  /** Model FLOPs utilisation against the measured multiply-add peak of the machine. */
  readonly mfu: number;
  /** Held by the process now; on a GPU what is in use on the device. */
  readonly residentBytes: number;
  readonly etaSeconds: number;
  /** That the loss was multiplied by in this step; absent without loss scaling. */
  readonly lossScale?: number;
  /** The gradients overflowed: weights and optimizer state are as before, the loss scale is halved. */
  readonly skipped?: true;
}

export interface EvalEvent {
  readonly kind: 'eval';
  readonly step: number;
  readonly loss: number;
  readonly perplexity: number;
  readonly tokens: number;
  readonly evalMs: number;
}

export interface CheckpointEvent {
  readonly kind: 'checkpoint';
  readonly step: number;
  readonly path: string;
  readonly bytes: number;
  readonly saveMs: number;
}

export interface WarningEvent {
  readonly kind: 'warning';
  readonly message: string;
}

/** How well updates arrive in the weights, from a sample of the elements of every trained tensor. */
export interface HealthEvent {
  readonly kind: 'health';
  readonly step: number;
  /**
   * By part of the model (`attention`, `mlp`, `norm`, `head`): the share of sampled elements, 0 to 1, whose stored bits this update did not
   * change. Weights that are rounded stochastically are not counted, for they lose nothing in the mean; nor are embeddings, for most of their rows are
   * not in a batch.
   */
  readonly lost: Readonly<Record<string, number>>;
  /** Updates left out so far because loss or gradients were not finite. */
  readonly nonFiniteSteps: number;
  /** Where training scales its loss: the scale now, and every step at which it changed since the last health event. */
  readonly lossScale?: { readonly now: number; readonly changes: readonly { readonly step: number; readonly scale: number }[] };
  /** Where optimizer state is kept in few bits: its relative error of rounding. */
  readonly quantisationError?: number;
}

/** `memory-pressure`: others took the machine's memory; the run has written a checkpoint and given its own back. */
export type EndReason = 'finished' | 'interrupted' | 'memory-pressure';

export interface EndEvent {
  readonly kind: 'end';
  readonly reason: EndReason;
  readonly step: number;
  readonly modelPath: string | null;
  /** The step whose weights the finished model has: the last, or the best evaluation's. */
  readonly modelStep: number | null;
  /** Of the process; on PyTorch per rank, and null where no planner has estimated it. */
  readonly plannedBytes: number | null;
  /** The most that the process (on PyTorch: the largest rank) ever held, as the operating system counts it. */
  readonly peakResidentBytes: number;
  /** As planned; null when the planner did not know this machine. */
  readonly predictedStepMs: number | null;
  /** The median of the steps of this process after its first two; null without any. */
  readonly measuredStepMs: number | null;
  /** After memory pressure: what a run on this machine may hold now. */
  readonly suggestedMemoryBytes: number | null;
  /** On a GPU, the most of any rank: allocated and reserved by torch, and in use on the device by anyone. */
  readonly devicePeak?: { readonly allocatedBytes: number; readonly reservedBytes: number; readonly deviceBytes: number };
  readonly seconds: number;
}

export type RunEvent = ProgressEvent | StartEvent | StepEvent | EvalEvent | CheckpointEvent | HealthEvent | WarningEvent | EndEvent;
