/** Memory and time of candidate plans, at full depth or by probe. Graphs that candidates share are built, rewritten and read off once. */

import { buildPart, optimise, runParts, type RunPart } from '../compile/compile.ts';
import { graphsOf, stepContext, updateMs, type PlanRequest } from '../compile/planned-run.ts';
import type { Graph } from '../graph/graph.ts';
import { planMemory, type MemoryPlan } from '../memory/memory-plan.ts';
import { forecastBytes } from '../memory/report.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import type { PlannedTechnique } from '../techniques/technique.ts';
import type { Candidate } from './candidate.ts';
import { candidateOf, figuresOf, runFigures, type GraphFigures, type RunFigures } from './figures.ts';
import { Path, type Found, type Proposals } from './path.ts';
import { probe, probeSections } from './probe.ts';
import { placesIn, resized, sectionsOf, type Sections, type Subject } from './sections.ts';
import { proposals, type Combination } from './space.ts';

const STEP_TECHNIQUES = TECHNIQUES.filter(({ stage }) => stage === 'step');
const FIRST_STEP_TECHNIQUES = STEP_TECHNIQUES.slice(0, -1);
const LAST_STEP_TECHNIQUE = STEP_TECHNIQUES.at(-1)!;

/** The techniques whose values each kind of graph depends on before any `step` rewrite. */
const DEPENDS_ON: Readonly<Record<string, readonly PlannedTechnique['stage'][]>> = {
  whole: ['batch', 'forward', 'update'], first: ['batch', 'forward'], next: ['batch', 'forward'], evaluate: ['batch', 'forward'], update: ['forward', 'update'],
};

export class Evaluator {
  private readonly request: PlanRequest;
  private readonly built = new Map<string, Graph>();
  private readonly rewrites = new WeakMap<Graph, Map<string, Graph>>();
  /** By the graph before its last rewrite: what comes out of that is large, and read off once. */
  private readonly figures = new WeakMap<Graph, Map<string, GraphFigures>>();
  private readonly runs = new Map<string, RunFigures>();
  private readonly proposed = new WeakMap<Graph, Proposals>();
  private readonly paths = new Map<TrainingPlan, Path>();
  /** Of the plan that was placed last. */
  private placed: { readonly plan: TrainingPlan; readonly memory: MemoryPlan } | undefined;
  private probes = true;
  private count = 0;

  constructor(request: PlanRequest) {
    this.request = request;
  }

  /** How many plans were rewritten and scheduled at full depth. */
  get evaluated(): number {
    return this.count;
  }

  /** Whether probes have agreed with what was found at full depth, so far. */
  get trustsProbes(): boolean {
    return this.probes;
  }

  /** The candidates that a combination unfolds into. */
  path({ plan }: Combination): Path {
    let path = this.paths.get(plan);
    if (path === undefined) {
      path = new Path(plan, { propose: () => this.proposals(plan), startsAsIs: !this.pinsProposals, estimator: this });
      this.paths.set(plan, path);
    }
    return path;
  }

  /** Whether the settings say what would otherwise be proposed. */
  private get pinsProposals(): boolean {
    return TECHNIQUES.some(({ proposes, keys }) => proposes && keys.some((key) => this.request.settings[key as keyof PlanRequest['settings']] !== undefined));
  }

  /** Every candidate that was looked at so far. */
  seen(): readonly Found[] {
    return [...this.paths.values()].flatMap((path) => [...path.seen].map((index) => ({ path, index, candidate: path.estimate(index) })));
  }

  /** Time and a lower bound of the memory. */
  estimate(plan: TrainingPlan): Candidate {
    return (this.probes ? this.probe(plan) : undefined) ?? this.unplaced(plan);
  }

  /** At full depth, with a place for every value: what a run of the plan will need. */
  evaluate(plan: TrainingPlan): Candidate {
    this.count++;
    const memory = this.memory(plan);
    const candidate = { plan, bytes: forecastBytes(memory), stepMs: updateMs(plan, graphsOf(memory), this.request.time) };
    // Layers that are not alike after all: from here on nothing is probed.
    const probed = this.probes ? this.probe(plan) : undefined;
    const lost = memory.arenaBytes - memory.peakLiveBytes;
    if (probed !== undefined && (probed.bytes > candidate.bytes - lost || Math.abs(probed.stepMs - candidate.stepMs) > 1e-6 * candidate.stepMs)) this.probes = false;
    return candidate;
  }

  /** The memory of all programs of a plan. */
  memory(plan: TrainingPlan): MemoryPlan {
    if (this.placed?.plan !== plan) {
      const subject = { model: this.request.model, plan };
      const parts = runParts({ plan, purpose: 'train' });
      const finished = parts.map((part) => [part.name, this.finished(subject, this.rewritten(subject, this.graph(subject, part, parts)))] as const);
      this.placed = { plan, memory: planMemory(Object.fromEntries(finished), this.request.device) };
    }
    return this.placed.memory;
  }

  /** At full depth, with nothing placed: what lives at once is a lower bound, and hardly less. */
  private unplaced(plan: TrainingPlan): Candidate {
    this.count++;
    const subject = { model: this.request.model, plan };
    return candidateOf(plan, this.measure(subject, sectionsOf(subject)));
  }

  private probe(plan: TrainingPlan): Candidate | undefined {
    return probe({ model: this.request.model, plan }, (subject, sections) => {
      const key = `${sections.join()} ${keyOf(subject.plan, TECHNIQUES)} ${subject.plan.frozen.join()}`;
      let figures = this.runs.get(key);
      if (figures === undefined) this.runs.set(key, (figures = this.measure(subject, sections)));
      return figures;
    });
  }

  private measure(subject: Subject, sections: Sections): RunFigures {
    // A micro-step that starts the gradients is as the one that goes on with them.
    const parts = runParts({ plan: subject.plan, purpose: 'train' }).filter((part) => part.kind !== 'micro-step' || part.mode !== 'first');
    return runFigures(Object.fromEntries(parts.map((part) => [part.name, this.graphFigures(subject, part, { sections, parts })])));
  }

  private graphFigures(subject: Subject, part: RunPart, { sections, parts }: { readonly sections: Sections; readonly parts: readonly RunPart[] }): GraphFigures {
    const before = this.rewritten(subject, this.graph(subject, part, parts));
    const known = this.figures.get(before) ?? new Map<string, GraphFigures>();
    this.figures.set(before, known);
    const key = `${sections.join()} ${LAST_STEP_TECHNIQUE.key(subject.plan)}`;
    let figures = known.get(key);
    if (figures === undefined) {
      known.set(key, (figures = figuresOf(this.finished(subject, before), { ...this.request, places: placesIn(sections) })));
    }
    return figures;
  }

  private graph(subject: Subject, part: RunPart, parts: readonly RunPart[]): Graph {
    const { plan, model } = subject;
    const stages = DEPENDS_ON[part.kind === 'micro-step' ? part.mode : part.kind]!;
    const key = `${part.name} ${model.layers} ${keyOf(plan, TECHNIQUES.filter(({ stage }) => stages.includes(stage)))} ${plan.frozen.join()}`;
    let graph = this.built.get(key);
    if (graph === undefined) this.built.set(key, (graph = buildPart({ model, plan, purpose: 'train' }, part, () => this.graph(subject, parts[0]!, parts))));
    return graph;
  }

  /** The graph after all `step` rewrites but the last; those of small models are kept, for many plans begin with the same ones. */
  private rewritten({ model, plan }: Subject, graph: Graph): Graph {
    return FIRST_STEP_TECHNIQUES.reduce((before, technique) => {
      if (model.layers === this.request.model.layers) return technique.rewriteStep(plan, before);
      const known = this.rewrites.get(before) ?? new Map<string, Graph>();
      this.rewrites.set(before, known);
      const key = `${technique.name} ${technique.key(plan)}`;
      let after = known.get(key);
      if (after === undefined) known.set(key, (after = technique.rewriteStep(plan, before)));
      return after;
    }, graph);
  }

  /** `before` after the last `step` rewrite, and what may follow any. */
  private finished({ plan }: Subject, before: Graph): Graph {
    return optimise(LAST_STEP_TECHNIQUE.rewriteStep(plan, before));
  }

  private proposals(plan: TrainingPlan): Proposals {
    const whole: Subject = { model: this.request.model, plan };
    const lengths = this.probes ? probeSections(whole) : undefined;
    const subject = lengths === undefined ? whole : resized(whole, sectionsOf(whole), lengths);
    const parts = runParts({ plan, purpose: 'train' }).filter((part) => part.kind === 'micro-step' && part.mode !== 'first');
    const graphs = Object.fromEntries(parts.slice(-1).map((part) => [part.name, this.graph(subject, part, parts)]));
    const step = stepContext(plan, graphs, this.request);
    let proposed = this.proposed.get(step.graph);
    if (proposed === undefined) {
      const plans = proposals(plan, this.request, step);
      const pieces = plans.map((each) => sectionsOf({ ...whole, plan: each }).length);
      const fewest = Math.min(...pieces);
      proposed = { plans, landmarks: plans.map((_, index) => index).filter((index) => pieces[index] === fewest) };
      this.proposed.set(step.graph, proposed);
    }
    return proposed;
  }
}

function keyOf(plan: TrainingPlan, techniques: readonly PlannedTechnique[]): string {
  return techniques.map((technique) => technique.key(plan)).join(' ');
}
