/** Rotary position embedding (Su et al. 2021): its settings in config.json, in the spellings of transformers 4 and 5, and its frequencies. */

import { shown, type ConfigReader } from './config-reader.ts';

export type Rope =
  | { readonly kind: 'default'; readonly theta: number }
  /** Positions divided by `factor` (Chen et al. 2023). */
  | { readonly kind: 'linear'; readonly theta: number; readonly factor: number }
  /** Llama 3.1: long waves stretched by `factor`, short ones kept, those between blended. */
  | {
    readonly kind: 'llama3';
    readonly theta: number;
    readonly factor: number;
    readonly lowFrequencyFactor: number;
    readonly highFrequencyFactor: number;
    readonly originalMaxPositions: number;
  };

const DEFAULT_THETA = 10000;

/** Reads `rope_theta` + `rope_scaling` (version 4) or `rope_parameters` (version 5). */
export function readRope(reader: ConfigReader, maxPositions: number): Rope {
  const scaling = reader.nested('rope_scaling');
  const parameters = reader.nested('rope_parameters');
  const outerTheta = reader.number('rope_theta', DEFAULT_THETA, 1);
  const outerOriginal = reader.optionalSize('original_max_position_embeddings');
  reader.only('partial_rotary_factor', [1], 'only heads that are rotated as a whole are supported');
  reader.only('rope_interleaved', [false], 'only the half-split layout of Hugging Face checkpoints is supported');
  if (scaling !== undefined && parameters !== undefined) reader.fail('rope_scaling and rope_parameters are both given', 'Keep one of them.');
  const inner = scaling ?? parameters;
  if (inner === undefined) return { kind: 'default', theta: outerTheta };

  const theta = inner.number('rope_theta', outerTheta, 1);
  const name = inner.raw('rope_type') ?? inner.raw('type') ?? 'default';
  inner.has('type'); // version 4 files may carry both
  inner.only('partial_rotary_factor', [1], 'only heads that are rotated as a whole are supported');
  switch (name) {
    case 'default': {
      inner.finish(new Set());
      return { kind: 'default', theta };
    }
    case 'linear': {
      const factor = inner.number('factor', undefined, 1);
      inner.finish(new Set(['original_max_position_embeddings']));
      return { kind: 'linear', theta, factor };
    }
    case 'llama3': {
      const factor = inner.number('factor', undefined, 1);
      const lowFrequencyFactor = inner.number('low_freq_factor', undefined, 0);
      const highFrequencyFactor = inner.number('high_freq_factor', undefined, 0);
      const originalMaxPositions = outerOriginal ?? inner.optionalSize('original_max_position_embeddings') ?? maxPositions;
      inner.has('original_max_position_embeddings');
      inner.finish(new Set());
      if (highFrequencyFactor <= lowFrequencyFactor) {
        inner.fail(`high_freq_factor (${highFrequencyFactor}) must be above low_freq_factor (${lowFrequencyFactor})`);
      }
      return { kind: 'llama3', theta, factor, lowFrequencyFactor, highFrequencyFactor, originalMaxPositions };
    }
    default:
      return inner.fail(`rope type ${shown(name)} is not supported`, 'Supported: default, linear, llama3.');
  }
}

/**
 * The K/2 inverse frequencies θ^(−2j/K), scaled as `rope` says: computed in f64, rounded to f32 once. (transformers computes each step in
 * f32, which differs in the last bits.)
 */
export function inverseFrequencies(rope: Rope, headWidth: number): readonly number[] {
  const plain = Array.from({ length: headWidth / 2 }, (_, j) => rope.theta ** ((-2 * j) / headWidth));
  return plain.map((frequency) => Math.fround(scaled(rope, frequency)));
}

function scaled(rope: Rope, frequency: number): number {
  switch (rope.kind) {
    case 'default':
      return frequency;
    case 'linear':
      return frequency / rope.factor;
    case 'llama3': {
      const wavelength = (2 * Math.PI) / frequency;
      if (wavelength > rope.originalMaxPositions / rope.lowFrequencyFactor) return frequency / rope.factor;
      if (wavelength < rope.originalMaxPositions / rope.highFrequencyFactor) return frequency;
      const smooth = (rope.originalMaxPositions / wavelength - rope.lowFrequencyFactor) / (rope.highFrequencyFactor - rope.lowFrequencyFactor);
      return ((1 - smooth) * frequency) / rope.factor + smooth * frequency;
    }
    default:
      return rope satisfies never;
  }
}
