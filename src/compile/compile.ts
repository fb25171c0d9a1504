/**
 * The spine: from a model and a training plan to programs over one arena. Nothing else builds programs.
 *
 *   models/ ─ forward graph + loss
 *     │ techniques: batch    shapes of a micro-step
 *     │ techniques: forward  rewrite it before backward exists
 *     │ appendBackward
 *     │ techniques: update   appendUpdate with the optimizer's rule
 *     │ passes               common subexpressions, dead code
 *     │ techniques: step     rewrite the whole step
 *     │ passes               dead code, in place
 *     │ planMemory           live ranges → offsets, checked
 *     ▼ lower                instructions
 */

import { formatBytes } from '../base/bytes.ts';
import { env } from '../base/debug.ts';
import type { DeviceSpec } from '../devices/device.ts';
import type { Program } from '../devices/program.ts';
import { GraphBuilder } from '../graph/builder.ts';
import type { Graph, ValueId } from '../graph/graph.ts';
import { printGraph } from '../graph/print.ts';
import { verifyGraph } from '../graph/verify.ts';
import { planMemory, type MemoryPlan } from '../memory/memory-plan.ts';
import { buildForward } from '../models/index.ts';
import type { ModelConfig } from '../models/model-config.ts';
import { parameterList } from '../models/parameters.ts';
import { shapeRules } from '../ops/index.ts';
import type { TrainingPlan } from '../run/training-plan.ts';
import { TECHNIQUES } from '../techniques/index.ts';
import type { BatchShape } from '../techniques/technique.ts';
import type { UpdateRule } from '../optimizers/update-rule.ts';
import { appendBackward, gradientName, type GradientMode } from './backward.ts';
import { lower, splitAtCommit, type CommittedProgram } from './lower.ts';
import { shareCommonSubexpressions } from './passes/common-subexpressions.ts';
import { removeDeadCode } from './passes/dead-code.ts';
import { reuseInPlace } from './passes/in-place.ts';
import { appendUpdate, scalesLoss, type UpdateOptions } from './update.ts';

/**
 * The programs of a training run. `fused` is forward, backward and update in one, when an update is a single micro-batch of one
 * length; otherwise `micro` has, per row length, a micro-step that starts the gradients and one that continues them, and `update`
 * finishes. What changes parameters comes last and apart, after the host has seen that loss and gradients are finite.
 * `none` when only evaluating.
 */
export type StepPrograms =
  | { readonly kind: 'none' }
  | { readonly kind: 'fused'; readonly step: CommittedProgram }
  | { readonly kind: 'accumulating'; readonly micro: ReadonlyMap<number, { readonly first: Program; readonly next: Program }>; readonly update: CommittedProgram };

export interface CompiledRun {
  readonly steps: StepPrograms;
  readonly evaluate: ReadonlyMap<number, Program>;
  readonly memory: MemoryPlan;
  /** Contents of the constants, by name. */
  readonly constants: ReadonlyMap<string, readonly number[]>;
}

export interface BuildOptions {
  readonly model: ModelConfig;
  readonly plan: TrainingPlan;
  /** Programs to make: `train` with `evaluate`, or `evaluate` alone. */
  readonly purpose: 'train' | 'evaluate';
}

export interface CompileOptions extends BuildOptions {
  readonly device: DeviceSpec;
}

/** Compiles a training run (or an evaluation) at the shapes and with the techniques of `plan`. */
export function compile(options: CompileOptions): CompiledRun {
  const { plan, device } = options;
  return lowerRun(planMemory(finishGraphs(plan, buildGraphs(options)), device), options);
}

/** The second half of `compile`: programs over memory that is planned already, after a check of their graphs. */
export function lowerRun(memory: MemoryPlan, { plan, purpose }: Pick<BuildOptions, 'plan' | 'purpose'>): CompiledRun {
  const batch = batchShape(plan);
  const graphs = new Map(memory.programs.map(({ name, graph }) => [name, graph]));
  for (const graph of graphs.values()) verifyGraph(graph, shapeRules);
  debugPrograms(memory);
  const programs = new Map(memory.programs.map((program) => [program.name, lower(program, memory)]));
  const program = (name: string): Program => programs.get(name)!;
  const committed = (name: string): CommittedProgram => splitAtCommit(program(name), graphs.get(name)!);
  return {
    steps: stepPrograms(),
    evaluate: new Map(batch.rowLengths.map((length) => [length, program(`evaluate ${length}`)])),
    memory,
    constants: constantsOf([...graphs.values()]),
  };

  function stepPrograms(): StepPrograms {
    if (purpose === 'evaluate') return { kind: 'none' };
    if (isFused(plan, batch)) return { kind: 'fused', step: committed('step') };
    const micro = batch.rowLengths.map((length) => [length, { first: program(`micro-step ${length} first`), next: program(`micro-step ${length} next`) }] as const);
    return { kind: 'accumulating', micro: new Map(micro), update: committed('update') };
  }
}

function batchShape(plan: TrainingPlan): BatchShape {
  return TECHNIQUES.reduce<BatchShape>((shape, technique) => technique.shape(plan, shape), { microBatchSize: 1, rowLengths: [] });
}

function isFused({ batch }: TrainingPlan, { rowLengths }: BatchShape): boolean {
  return batch.accumulationSteps === 1 && rowLengths.length === 1;
}

/**
 * The graphs of a run by name, before any `step` rewrite: `step`, or `micro-step <length> first` and `next` with `update`; and `evaluate <length>`.
 * They do not depend on what the `step` techniques choose.
 */
export function buildGraphs(options: BuildOptions): Readonly<Record<string, Graph>> {
  const graphs = new Map<string, Graph>();
  for (const part of runParts(options)) graphs.set(part.name, buildPart(options, part, () => graphs.values().next().value!));
  return Object.fromEntries(graphs);
}

/** One graph of a run. */
export type RunPart = { readonly name: string; readonly length: number } & (
  | { readonly kind: 'micro-step'; readonly mode: GradientMode }
  | { readonly kind: 'update' | 'evaluate' }
);

/** The graphs of a run, not built yet; micro-steps come first. */
export function runParts({ plan, purpose }: Omit<BuildOptions, 'model'>): readonly RunPart[] {
  const batch = batchShape(plan);
  const evaluation = batch.rowLengths.map((length): RunPart => ({ kind: 'evaluate', name: `evaluate ${length}`, length }));
  if (purpose === 'evaluate') return evaluation;
  if (isFused(plan, batch)) return [...batch.rowLengths.map((length): RunPart => ({ kind: 'micro-step', name: 'step', length, mode: 'whole' })), ...evaluation];
  const micro = batch.rowLengths.flatMap((length) => (['first', 'next'] as const).map((mode): RunPart => ({ kind: 'micro-step', name: `micro-step ${length} ${mode}`, length, mode })));
  return [...micro, { kind: 'update', name: 'update', length: 0 }, ...evaluation];
}

/** Builds one graph. `micro` gives a micro-step of the same run: the update finds its gradients there. */
export function buildPart(options: BuildOptions, part: RunPart, micro: () => Graph): Graph {
  const { microBatchSize } = batchShape(options.plan);
  switch (part.kind) {
    case 'micro-step':
      return microStep(options, microBatchSize, part.length, part.mode);
    case 'update':
      return updateOnly(options, micro());
    case 'evaluate':
      return tidy(forwardPass(options, microBatchSize, part.length));
    default:
      return part satisfies never;
  }
}

/** The `step` rewrites of `plan`, and what may follow any rewrite. */
export function finishGraphs(plan: TrainingPlan, graphs: Readonly<Record<string, Graph>>): Readonly<Record<string, Graph>> {
  const rewritten = (graph: Graph): Graph => TECHNIQUES.reduce((step, technique) => technique.rewriteStep(plan, step), graph);
  return Object.fromEntries(Object.entries(graphs).map(([name, graph]) => [name, optimise(rewritten(graph))]));
}

/** Nothing twice, and nothing that nobody reads. What a technique computes again later stays computed again. */
function tidy(graph: Graph): Graph {
  return removeDeadCode(shareCommonSubexpressions(graph));
}

/** What FULLTUNE_DEBUG asks to see. */
function debugPrograms({ programs, arenaBytes }: MemoryPlan): void {
  if (env.debugLevel < 1) return;
  for (const { name, graph, placement } of programs) {
    console.error(`${name}: ${graph.nodes.length} nodes, ${formatBytes(placement.bytes)} of its own in an arena of ${formatBytes(arenaBytes)}`);
    if (env.debugLevel >= 2) console.error(printGraph(graph));
  }
}

/** Forward and backward of one micro-batch; in mode `whole` the update too. */
function microStep(options: BuildOptions, rows: number, length: number, mode: GradientMode): Graph {
  const { model, plan } = options;
  const builder = GraphBuilder.from(forwardPass(options, rows, length), shapeRules);
  const gradients = appendBackward(builder, { trained: trainedParameters(builder, plan), mode, scalesLoss: scalesLoss(plan) });
  if (mode === 'whole') {
    appendUpdate(builder, gradients.map(({ parameter, uses }) => ({ parameter, gradient: uses[0]! })), updateOptions(model, plan));
  }
  return tidy(builder.finish());
}

/** The model and its loss, as the techniques want them. */
function forwardPass({ model, plan }: BuildOptions, rows: number, length: number): Graph {
  const builder = new GraphBuilder(shapeRules);
  buildForward(builder, model, { rows, length });
  return TECHNIQUES.reduce((graph, technique) => technique.rewriteForward(plan, graph), builder.finish());
}

/** The update over gradients that micro-steps like `micro` have summed up. */
function updateOnly({ model, plan }: BuildOptions, micro: Graph): Graph {
  const builder = new GraphBuilder(shapeRules);
  builder.phase = 'update';
  const gradients = micro.values.filter((value) => value.storage === 'gradient' && value.persistent);
  const byName = new Map(gradients.map((value) => [value.name, value]));
  const trained = micro.values
    .filter((value) => value.storage === 'parameter' && byName.has(gradientName(value.name, 0)))
    .map((value) => {
      const parameter = builder.within(value.scope, 'update', () => builder.parameter(value.name, value.dtype, ...value.shape));
      const uses: ValueId[] = [];
      for (let use = byName.get(gradientName(value.name, 0)); use !== undefined; use = byName.get(gradientName(value.name, uses.length))) {
        uses.push(builder.persistent(use.name, 'gradient', use));
      }
      const gradient = builder.within(value.scope, 'update', () => uses.reduce((sum, use) => addInto(builder, sum, use)));
      return { parameter, gradient };
    });
  appendUpdate(builder, trained, updateOptions(model, plan));
  return tidy(builder.finish());
}

/** The sum of two uses, in the bytes of the first: these are summed up anew in the next update. */
function addInto(builder: GraphBuilder, sum: ValueId, use: ValueId): ValueId {
  return builder.node('add', [sum, use], {}, { overwrites: [{ output: 0, input: 0 }] })[0]!;
}

/** What may follow any rewrite; knows no technique. */
export function optimise(graph: Graph): Graph {
  return reuseInPlace(removeDeadCode(graph));
}

function trainedParameters(builder: GraphBuilder, plan: TrainingPlan): readonly ValueId[] {
  const frozen = new Set(plan.frozen);
  const graph = builder.finish();
  return graph.inputs.filter((id) => graph.values[id]!.storage === 'parameter' && !frozen.has(graph.values[id]!.name));
}

function updateOptions(model: ModelConfig, plan: TrainingPlan): UpdateOptions {
  const embeddings = new Set(parameterList(model).filter(({ kind }) => kind === 'embedding').map(({ name }) => name));
  return { rule: updateRule(plan), plan, isEmbedding: (name) => embeddings.has(name) };
}

function updateRule(plan: TrainingPlan): UpdateRule {
  for (const technique of TECHNIQUES) {
    const rule = technique.rule(plan);
    if (rule !== undefined) return rule;
  }
  throw new Error('no technique gives an update rule');
}

export function constantsOf(graphs: readonly Graph[]): ReadonlyMap<string, readonly number[]> {
  return new Map(graphs.flatMap((graph) => Object.entries(graph.constants).map(([id, data]) => [graph.values[Number(id)]!.name, data] as const)));
}
