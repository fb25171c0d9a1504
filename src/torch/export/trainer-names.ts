/** The trainers that `export --to` writes for. */

export const TRAINER_NAMES = ['trl', 'accelerate', 'deepspeed', 'axolotl', 'llama-factory', 'torchtitan'] as const;
export type TrainerName = (typeof TRAINER_NAMES)[number];
