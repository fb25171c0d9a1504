/** The trainers that a run can be exported to. A new one is a file beside this, a file of its keys, and a line here. */

import { FulltuneError, nearest } from '../../base/errors.ts';
import { accelerate } from './accelerate.ts';
import { axolotl } from './axolotl.ts';
import { deepspeed } from './deepspeed.ts';
import { llamaFactory } from './llama-factory.ts';
import { torchtitan } from './torchtitan.ts';
import { TRAINER_NAMES, type TrainerName } from './trainer-names.ts';
import type { Trainer } from './trainer.ts';
import { trl } from './trl.ts';

export const TRAINERS: Readonly<Record<TrainerName, Trainer>> = { trl, accelerate, deepspeed, axolotl, 'llama-factory': llamaFactory, torchtitan };

/** Throws E_CONFIG with the names that there are. */
export function trainerNamed(name: string): Trainer {
  if (Object.hasOwn(TRAINERS, name)) return TRAINERS[name as TrainerName];
  const near = nearest(name.replaceAll('_', '-'), TRAINER_NAMES);
  throw new FulltuneError('E_CONFIG', `--to '${name}' is no trainer that fulltune exports to`, {
    where: '--to', remedy: near === undefined ? `There are ${TRAINER_NAMES.join(', ')}.` : `Did you mean ${near}?`,
  });
}
