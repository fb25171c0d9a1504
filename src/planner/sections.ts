/**
 * Runs of layers that a plan treats alike, and the same plan for a model with other numbers of layers in them. What is frozen in one layer and not in
 * the next ends a run too.
 */

import type { PlanRequest } from '../compile/planned-run.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { TECHNIQUES } from '../techniques/index.ts';

/** Number of layers of each run, in order. */
export type Sections = readonly number[];

/** A model and a plan for it. */
export type Subject = Pick<PlanRequest, 'model'> & { readonly plan: TrainingPlan };

const LAYER = /(^|\.)(layers|h)\.(\d+)\./;

export function sectionsOf({ model, plan }: Subject): Sections {
  const inner = [...TECHNIQUES.flatMap((technique) => technique.cuts(plan)), ...frozenCuts(plan.frozen)].filter((cut) => cut > 0 && cut < model.layers);
  const cuts = [...new Set(inner), model.layers].sort((a, b) => a - b);
  return cuts.map((cut, index) => cut - (cuts[index - 1] ?? 0));
}

/** The subject with `lengths` layers in its sections, each at least one. */
export function resized({ model, plan }: Subject, sections: Sections, lengths: Sections): Subject {
  const ends = (list: Sections): readonly number[] => list.map((_, index) => list.slice(0, index + 1).reduce((sum, length) => sum + length, 0));
  const [before, after] = [ends(sections), ends(lengths)];
  const moved = (cut: number): number => after[before.findIndex((end) => cut <= end)] ?? after.at(-1)!;
  const remade = TECHNIQUES.reduce((made, technique) => technique.moveCuts(made, (cut) => (cut <= 0 ? 0 : moved(cut))), plan);
  const frozen = plan.frozen.length === 0 ? plan.frozen : resizedFrozen(plan.frozen, (layer) => {
    const section = before.findIndex((end) => layer < end);
    const [from, to] = [before[section]! - sections[section]!, after[section]! - lengths[section]!];
    // The first layer of a section stands for all of it.
    return layer === from ? Array.from({ length: lengths[section]! }, (_, index) => to + index) : [];
  });
  return { model: { ...model, layers: after.at(-1)! }, plan: { ...remade, frozen } };
}

/** For each layer, the section it lies in and whether it is the first, the last or another one there. */
export function placesIn(lengths: Sections): readonly number[] {
  return lengths.flatMap((length, section) => Array.from({ length }, (_, index) => 4 * section + (length === 1 ? 3 : index === 0 ? 0 : index === length - 1 ? 2 : 1)));
}

function resizedFrozen(frozen: readonly string[], layersFor: (layer: number) => readonly number[]): readonly string[] {
  return frozen.flatMap((name) => {
    const layer = LAYER.exec(name)?.[3];
    return layer === undefined ? [name] : layersFor(Number(layer)).map((other) => name.replace(LAYER, `$1$2.${other}.`));
  });
}

/** Layers in which other things are frozen than in the layer before. */
function frozenCuts(frozen: readonly string[]): readonly number[] {
  const byLayer = new Map<number, string>();
  for (const name of frozen) {
    const layer = LAYER.exec(name)?.[3];
    if (layer !== undefined) byLayer.set(Number(layer), `${byLayer.get(Number(layer)) ?? ''} ${name.replace(LAYER, '')}`);
  }
  return [...byLayer.keys()].flatMap((layer) => [layer, layer + 1]).filter((layer) => byLayer.get(layer) !== byLayer.get(layer - 1));
}
