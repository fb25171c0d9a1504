/** Offload: optimizer state and kept activations live in a file and pass through planned staging buffers, ahead of their use. */

import type { OffloadChoice } from '../run/training-plan.ts';
import { offloadActivations } from './offload-activations.ts';
import { OFFLOAD_LIMITS } from './offload-schedule.ts';
import { offloadOptimizerState } from './offload-optimizer-state.ts';
import type { Technique } from './technique.ts';

export const offload: Technique<OffloadChoice> = {
  name: 'offload',
  field: 'offload',
  keys: ['offload_optimizer_state', 'offload_activation_layers'],
  of: (plan) => plan.offload,
  into: (plan, value) => ({ ...plan, offload: value }),
  // Activations only where they are asked for: to make them again is faster than most disks, and the recompute path covers them.
  values: ({ settings }) => {
    const { offload_optimizer_state: state, offload_activation_layers: activationLayers = 0 } = settings;
    return (state === undefined ? [false, true] : [state]).map((optimizerState) => ({ optimizerState, activationLayers }));
  },
  neverFaster: true,
  numerics: () => 'bitwise',
  conflict: () => undefined,
  explain: ({ optimizerState, activationLayers }) => {
    const state = optimizerState ? ['optimizer state'] : [];
    const activations = activationLayers > 0 ? [`activations of ${activationLayers === 1 ? 'the first layer' : `the first ${activationLayers} layers`}`] : [];
    const moved = [...state, ...activations];
    return moved.length === 0
      ? { value: 'nothing in a file', saves: 'nothing', costs: 'nothing' }
      : { value: `${moved.join(' and ')} in a file`, brief: `${moved.join(' and ')} in a file`, saves: `the memory of ${moved.join(' and of ')}, staging buffers apart`, costs: 'room on disk, and time where the disk is slower than the step' };
  },
  layers: {
    cuts: ({ activationLayers }) => [activationLayers],
    moved: (value, to) => ({ ...value, activationLayers: to(value.activationLayers) }),
    // What is written and read goes on while the next layers compute.
    reach: ({ activationLayers }) => (activationLayers > 0 ? OFFLOAD_LIMITS.depth : 0),
  },
  action: {
    stage: 'step',
    rewrite: ({ optimizerState, activationLayers }, graph) => {
      const moved = activationLayers > 0 ? offloadActivations(graph, activationLayers) : graph;
      return optimizerState ? offloadOptimizerState(moved) : moved;
    },
  },
};
