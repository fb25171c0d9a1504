/** The optimizer and its state. */

import { FulltuneError } from '../base/errors.ts';
import { adafactor } from '../optimizers/adafactor.ts';
import { adamw } from '../optimizers/adamw.ts';
import { adamw8bit } from '../optimizers/adamw-8bit.ts';
import { lion } from '../optimizers/lion.ts';
import { sgd } from '../optimizers/sgd.ts';
import type { Allowable, OptimizerName, Settings } from '../run/run-config.ts';
import type { OptimizerChoice } from '../run/training-plan.ts';
import type { Explanation, Technique } from './technique.ts';

export const optimizer: Technique<OptimizerChoice> = {
  name: 'optimizer',
  field: 'optimizer',
  keys: ['optim', 'adam_beta1', 'adam_beta2', 'adam_epsilon', 'adafactor_beta1', 'optim_8bit_embeddings', 'sgd_momentum', 'weight_decay'],
  of: (plan) => plan.optimizer,
  into: (plan, value) => ({ ...plan, optimizer: value }),
  values: ({ settings }) => optimizerNames(settings, ['adamw_8bit', 'adafactor']).map((kind) => optimizerChoice(kind, settings)),
  // Another optimizer is another training; AdamW is the one that all comparisons start from.
  numerics: (value) => (value.kind === 'adamw' ? 'bitwise' : 'changed'),
  conflict: () => undefined,
  explain,
  action: {
    stage: 'update',
    rule: (value) => {
      switch (value.kind) {
        case 'adamw':
          return adamw(value);
        case 'adamw_8bit':
          return adamw8bit(value);
        case 'adafactor':
          return adafactor(value);
        case 'lion':
          return lion(value);
        case 'sgd':
          return sgd(value);
        default:
          return value satisfies never;
      }
    },
  },
};

/** The optimizer that the user named; else AdamW, and those of `substitutes` that are allowed to take its place where nothing else fits. */
export function optimizerNames({ optim, allow }: Settings, substitutes: readonly (Allowable & OptimizerName)[]): readonly OptimizerName[] {
  return optim !== undefined ? [optim] : ['adamw', ...substitutes.filter((kind) => allow.includes(kind))];
}

/** With the numbers that the settings give it. Throws E_CONFIG for an optimizer that the embedded engine does not have. */
export function optimizerChoice(kind: OptimizerName, settings: Settings): OptimizerChoice {
  const { adam_beta1: beta1, adam_beta2: beta2, adam_epsilon: epsilon, weight_decay: weightDecay } = settings;
  switch (kind) {
    case 'adamw':
      return { kind, beta1, beta2, epsilon, weightDecay };
    case 'adamw_8bit':
      return { kind, beta1, beta2, epsilon, weightDecay, embeddings: settings.optim_8bit_embeddings };
    case 'adamw_4bit':
      throw new FulltuneError('E_CONFIG', 'optim is adamw_4bit, which the embedded engine does not have', {
        where: 'optim', remedy: 'Use optim adamw_8bit, or PyTorch: train --engine torch, plan --device NAME.',
      });
    case 'adafactor':
      return { kind, beta1: settings.adafactor_beta1, weightDecay };
    case 'lion':
      return { kind, beta1, beta2, weightDecay };
    case 'sgd':
      return { kind, momentum: settings.sgd_momentum, weightDecay };
    default:
      return kind satisfies never;
  }
}

function explain(value: OptimizerChoice): Explanation {
  const costs = 'another training: needs its own learning rate';
  switch (value.kind) {
    case 'adamw':
      return { value: 'AdamW, f32 moments', saves: 'nothing', costs: '8 bytes per trained parameter' };
    case 'adamw_8bit':
      return {
        value: `AdamW, 8-bit moments${value.embeddings ? ', of embeddings too' : '; of embeddings, norms and small tensors in f32'}`, brief: '8-bit AdamW',
        saves: '6 bytes per parameter of the matrices', costs: 'moments of 8 bits: about two decimal digits',
      };
    case 'adafactor':
      return value.beta1 > 0
        ? { value: `Adafactor, momentum ${value.beta1}`, brief: 'Adafactor with momentum', saves: '4 bytes per trained parameter against AdamW', costs }
        : { value: 'Adafactor without momentum', brief: 'Adafactor', saves: '8 bytes per parameter of the matrices against AdamW', costs };
    case 'lion':
      return { value: 'Lion', brief: 'Lion', saves: '4 bytes per trained parameter against AdamW', costs: 'another training: wants a learning rate several times smaller' };
    case 'sgd':
      return value.momentum > 0
        ? { value: `SGD, momentum ${value.momentum}`, brief: 'SGD', saves: '4 bytes per trained parameter against AdamW', costs }
        : { value: 'SGD without momentum', brief: 'SGD', saves: '8 bytes per trained parameter against AdamW', costs };
    default:
      return value satisfies never;
  }
}
