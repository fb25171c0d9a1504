/**
 * Memory and time of a plan for a deep model, from graphs of few layers. Layers are alike, so what sums over them grows by the same amount with each:
 * time, instructions, persistent bytes. The transient bytes at one place of the schedule do so too, and the most of a part of the schedule is the
 * largest of such lines, hence convex: drawn on from two small models it is a lower bound of what the deep one needs, and nearly always equal. Probes
 * order and prune a search, and stand for plans that are only spoken of: in reasons and on the frontier. What is chosen is compiled at full depth.
 */

import { candidateOf, type RunFigures } from './figures.ts';
import type { Candidate } from './candidate.ts';
import type { Sections, Subject } from './sections.ts';
import { resized, sectionsOf } from './sections.ts';
import { TECHNIQUES } from '../techniques/index.ts';

/** Of a run of alike layers: the first, the last, and one in between. */
const LAYERS = 3;

/** Figures of a model as it is. */
export type Measure = (subject: Subject, sections: Sections) => RunFigures;

/** The sections of the probe of `subject`; undefined where its layers are too few to leave any out. */
export function probeSections(subject: Subject): Sections | undefined {
  const most = layersOf(subject);
  const sections = sectionsOf(subject);
  return sections.some((length) => length > most) ? sections.map((length) => Math.min(length, most)) : undefined;
}

/** Time, and a lower bound of the memory, of a plan; undefined where its model has too few layers for a probe. */
export function probe(subject: Subject, measure: Measure): Candidate | undefined {
  const lengths = probeSections(subject);
  if (lengths === undefined) return undefined;
  const sections = sectionsOf(subject);
  const at = (changed: Sections): RunFigures => measure(resized(subject, sections, changed), changed);
  const steps = sections.flatMap((length, index) => (length === lengths[index] ? [] : [{
    fewer: at(lengths.map((other, place) => (place === index ? other - 1 : other))),
    times: length - lengths[index]!,
  }]));
  return candidateOf(subject.plan, drawnOn(at(lengths), steps));
}

function layersOf({ plan }: Subject): number {
  return LAYERS + TECHNIQUES.reduce((most, technique) => Math.max(most, technique.reach(plan)), 0);
}

/** `from`, and for each step so many times what it has more than with one layer fewer. */
function drawnOn(from: RunFigures, steps: readonly { readonly fewer: RunFigures; readonly times: number }[]): RunFigures {
  const on = (value: number, pick: (fewer: RunFigures) => number | undefined): number =>
    steps.reduce((sum, { fewer, times }) => {
      const less = pick(fewer);
      // A part that the smaller model does not have stays as it is: more layers never need less.
      return less === undefined ? sum : sum + times * (value - less);
    }, value);
  const graphs = Object.entries(from.graphs).map(([name, graph]) => [name, {
    nodes: on(graph.nodes, (fewer) => fewer.graphs[name]!.nodes),
    busyMs: graph.busyMs.map((ms, index) => on(ms, (fewer) => fewer.graphs[name]!.busyMs[index])),
    liveBytes: new Map([...graph.liveBytes].map(([part, bytes]) => [part, on(bytes, (fewer) => fewer.graphs[name]!.liveBytes.get(part))])),
  }] as const);
  return { persistentBytes: on(from.persistentBytes, (fewer) => fewer.persistentBytes), graphs: Object.fromEntries(graphs) };
}
