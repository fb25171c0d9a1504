/** The optimizer and its state. */

import { adamw } from '../optimizers/adamw.ts';
import { sgd } from '../optimizers/sgd.ts';
import type { OptimizerChoice } from '../run/training-plan.ts';
import type { Technique } from './technique.ts';

export const optimizer: Technique<OptimizerChoice> = {
  name: 'optimizer',
  field: 'optimizer',
  keys: ['optim', 'adam_beta1', 'adam_beta2', 'adam_epsilon', 'sgd_momentum', 'weight_decay'],
  of: (plan) => plan.optimizer,
  into: (plan, value) => ({ ...plan, optimizer: value }),
  values: ({ settings }) => {
    switch (settings.optim) {
      case 'adamw':
        return [{ kind: 'adamw', beta1: settings.adam_beta1, beta2: settings.adam_beta2, epsilon: settings.adam_epsilon, weightDecay: settings.weight_decay }];
      case 'sgd':
        return [{ kind: 'sgd', momentum: settings.sgd_momentum, weightDecay: settings.weight_decay }];
      default:
        return settings.optim satisfies never;
    }
  },
  // Another optimizer is another training; AdamW is the one that all comparisons start from.
  numerics: (value) => (value.kind === 'adamw' ? 'bitwise' : 'changed'),
  conflict: () => undefined,
  explain: (value) => {
    switch (value.kind) {
      case 'adamw':
        return { value: 'AdamW, f32 moments', saves: 'nothing', costs: '8 bytes per trained parameter' };
      case 'sgd':
        return {
          value: value.momentum > 0 ? `SGD, momentum ${value.momentum}` : 'SGD without momentum',
          saves: value.momentum > 0 ? '4 bytes per trained parameter against AdamW' : '8 bytes per trained parameter against AdamW',
          costs: 'another training: needs its own learning rate',
        };
      case 'adamw_8bit':
      case 'adafactor':
      case 'lion':
        throw new RangeError(value.kind);
      default:
        return value satisfies never;
    }
  },
  action: {
    stage: 'update',
    rule: (value) => {
      switch (value.kind) {
        case 'adamw':
          return adamw(value);
        case 'sgd':
          return sgd(value);
        case 'adamw_8bit':
        case 'adafactor':
        case 'lion':
          throw new RangeError(value.kind);
        default:
          return value satisfies never;
      }
    },
  },
};
