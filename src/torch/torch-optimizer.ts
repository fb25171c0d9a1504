/** The optimizers of a run on PyTorch: those that the embedded engine has, under the same settings, and AdamW with four-bit moments. */

import type { Settings } from '../run/run-config.ts';
import type { TorchOptimizer } from '../run/torch-plan.ts';
import { optimizer, optimizerChoice, optimizerNames } from '../techniques/optimizer.ts';
import type { Explanation } from '../techniques/technique.ts';

/** What the settings name, else AdamW first and then what they allow in its place, from the nearest to it on. */
export function torchOptimizers(settings: Settings): readonly TorchOptimizer[] {
  const { adam_beta1: beta1, adam_beta2: beta2, adam_epsilon: epsilon, weight_decay: weightDecay } = settings;
  return optimizerNames(settings, ['adamw_8bit', 'adamw_4bit', 'adafactor']).map((kind) =>
    (kind === 'adamw_4bit' ? { kind, beta1, beta2, epsilon, weightDecay } : optimizerChoice(kind, settings)));
}

export function explainTorchOptimizer(choice: TorchOptimizer): Explanation {
  if (choice.kind !== 'adamw_4bit') return optimizer.explain(choice);
  return {
    value: 'AdamW, 4-bit moments; of vectors and small tensors in f32', brief: '4-bit AdamW',
    saves: '7 bytes per parameter of matrices and embeddings', costs: 'moments of 4 bits: about one decimal digit',
  };
}
