/** A plan of a PyTorch run in words: each technique's value, why it was chosen, and the figure of what was not. */

import { formatBytes } from '../base/bytes.ts';
import type { Choice } from '../run/events.ts';
import type { FrontierPoint } from '../run/frontier.ts';
import type { TorchPlan } from '../run/torch-plan.ts';
import { explainTorchOptimizer } from './torch-optimizer.ts';
import { isFaster, type TorchCandidate } from './torch-search.ts';
import type { TorchRequest } from './torch-space.ts';

interface TorchTechnique {
  readonly name: string;
  readonly value: (plan: TorchPlan) => string;
  /** In a line that names all techniques; empty: not worth a word. */
  readonly brief: (plan: TorchPlan) => string;
  /** What to call the value that has no brief name. */
  readonly without?: string;
  /** Names whose values go along with this one's. */
  readonly with: readonly string[];
}

const PRECISIONS = {
  f32: 'f32', bf16: 'bf16 where it is safe, f32 weights and state', f16: 'f16 where it is safe, with a loss scale; f32 weights and state', 'bf16-weights': 'bf16 throughout, without f32 masters, rounded stochastically',
} as const satisfies Record<TorchPlan['precision'], string>;

const SHARDINGS = {
  none: 'one device', ddp: 'none: each rank has a whole copy (DDP)', zero2: 'gradients and state; weights gathered once per micro-step (ZeRO-2)', fsdp: 'weights, gradients and state (FSDP, ZeRO-3)',
} as const satisfies Record<TorchPlan['sharding'], string>;

const ATTENTIONS = {
  sdpa: 'scaled_dot_product_attention', flex: 'FlexAttention, which knows documents that share a row', eager: 'written out: the model rules fused kernels out',
} as const satisfies Record<TorchPlan['attention'], string>;

export const TORCH_TECHNIQUES: readonly TorchTechnique[] = [
  {
    name: 'micro-batch', with: ['update'],
    value: ({ batch, worldSize }) => `${batch.microBatchSize}${batch.microBatchSize === 1 ? ' row' : ' rows'} × accumulation ${batch.accumulationSteps}${worldSize > 1 ? ` × ${worldSize} ranks` : ''}`,
    brief: ({ batch }) => `micro-batch ${batch.microBatchSize} × ${batch.accumulationSteps}`,
  },
  { name: 'sharding', with: ['offload'], value: ({ sharding, worldSize }) => (sharding === 'fsdp' && worldSize === 1 ? 'one device, under FSDP for its offload' : SHARDINGS[sharding]), brief: ({ sharding, worldSize }) => (sharding === 'none' || worldSize === 1 ? '' : { ddp: 'DDP', zero2: 'ZeRO-2', fsdp: 'FSDP' }[sharding]) },
  { name: 'offload', with: ['sharding'], without: 'no offload', value: ({ cpuOffload }) => (cpuOffload ? 'weights, gradients and state in the memory of the host' : 'nothing'), brief: ({ cpuOffload }) => (cpuOffload ? 'CPU offload' : '') },
  { name: 'recompute', with: [], without: 'no recompute', value: recomputeText, brief: (plan) => (plan.recompute.kind === 'none' ? '' : plan.recompute.kind === 'selective' ? 'selective recompute' : `recompute of ${plan.recompute.layers}`) },
  { name: 'precision', with: [], value: ({ precision }) => PRECISIONS[precision], brief: ({ precision }) => ({ f32: '', bf16: 'bf16', f16: 'f16', 'bf16-weights': 'bf16 weights' })[precision] },
  { name: 'loss', with: [], value: ({ loss }) => (loss.kind === 'whole' ? 'whole logits' : `logits of ${loss.tokens.toLocaleString('en')} tokens at a time`), brief: ({ loss }) => (loss.kind === 'whole' ? '' : 'chunked loss') },
  { name: 'optimizer', with: [], value: (plan) => optimizerText(plan), brief: ({ optimizer }) => explainTorchOptimizer(optimizer).brief ?? '' },
  { name: 'update', with: [], value: ({ update }) => (update === 'in-backward' ? 'each weight as soon as its gradient is complete' : 'after backward'), brief: ({ update }) => (update === 'in-backward' ? 'optimizer in backward' : '') },
  { name: 'attention', with: [], value: ({ attention }) => ATTENTIONS[attention], brief: () => '' },
];

function recomputeText({ recompute, attention }: TorchPlan): string {
  switch (recompute.kind) {
    case 'none':
      return 'none';
    case 'selective':
      return attention === 'flex' ? 'selective: results of products are kept' : 'selective: results of products and attention are kept';
    case 'layers':
      return `of the first ${recompute.layers} layers, which keep their input only`;
    default:
      return recompute satisfies never;
  }
}

function optimizerText({ optimizer, precision }: TorchPlan): string {
  const { value } = explainTorchOptimizer(optimizer);
  return precision === 'bf16-weights' ? value.replace(', f32 moments', ', bf16 moments') : value;
}

/** `micro-batch 2 × 4, FSDP, selective recompute, bf16`. */
export function briefTorchPlan(plan: TorchPlan): string {
  return TORCH_TECHNIQUES.map(({ brief }) => brief(plan)).filter((text) => text !== '').join(', ');
}

/** One line per technique. */
export function torchReasons(chosen: TorchCandidate, candidates: readonly TorchCandidate[], { memoryBytes }: Pick<TorchRequest, 'memoryBytes'>): readonly Choice[] {
  return TORCH_TECHNIQUES.map((technique) => ({ key: technique.name, value: technique.value(chosen.plan), reason: reasonFor(technique, chosen, candidates, memoryBytes) }));
}

function reasonFor(technique: TorchTechnique, chosen: TorchCandidate, candidates: readonly TorchCandidate[], memoryBytes: number): string {
  const same = (other: TorchTechnique, { plan }: TorchCandidate): boolean => other.value(plan) === other.value(chosen.plan);
  const others = candidates.filter((candidate) => !same(technique, candidate) && TORCH_TECHNIQUES.every((other) => other === technique || technique.with.includes(other.name) || same(other, candidate)));
  if (others.length === 0) return 'the settings leave nothing else';
  const name = ({ plan }: TorchCandidate): string => technique.brief(plan) || technique.without || technique.value(plan);
  const tooLarge = others.filter((candidate) => isFaster(candidate, chosen) && candidate.neededBytes > memoryBytes);
  if (tooLarge.length > 0) {
    const nearest = tooLarge.reduce((a, b) => (b.neededBytes < a.neededBytes ? b : a));
    return `${name(nearest)} would need ${formatBytes(nearest.neededBytes)}`;
  }
  const fitting = others.filter((candidate) => candidate.neededBytes <= memoryBytes);
  if (fitting.length > 0) {
    const next = fitting.reduce((a, b) => (isFaster(b, a) ? b : a));
    const more = (next.time.updateMs / chosen.time.updateMs - 1) * 100;
    if (more < 0) return `${name(next)} would change the numbers`;
    return more < 0.05 ? `${name(next)} would be no faster` : `${name(next)} would take ${more.toFixed(more < 10 ? 1 : 0)} % longer`;
  }
  const least = others.reduce((a, b) => (b.neededBytes < a.neededBytes ? b : a));
  return `${name(least)} would need ${formatBytes(least.neededBytes)}`;
}

const POINTS = 10;
/** A plan that needs more than so many times the memory there is helps nobody. */
const MOST_OVER_BUDGET = 2;
/** A point that is faster by less than this is not worth its line. */
const WORTH = 0.005;

/** Most memory first: no other plan is both smaller and faster. One that changes the numbers is there only below the smallest that does not. */
export function torchFrontier(chosen: TorchCandidate, all: readonly TorchCandidate[], { memoryBytes }: Pick<TorchRequest, 'memoryBytes'>): readonly FrontierPoint[] {
  const least = all.reduce((bytes, each) => Math.min(bytes, each.neededBytes), Infinity);
  const candidates = all.filter(({ neededBytes }) => neededBytes <= MOST_OVER_BUDGET * Math.max(memoryBytes, least));
  const keeping = paretoOf(candidates.filter(({ changed }) => changed.length === 0));
  const floor = keeping.reduce((least, { neededBytes }) => Math.min(least, neededBytes), Infinity);
  const changing = paretoOf(candidates.filter(({ changed, neededBytes }) => changed.length > 0 && neededBytes < floor));
  const points = [...thinned(keeping, chosen), ...thinned(changing, chosen)];
  return (points.includes(chosen) ? points : [...points, chosen]).sort((a, b) => b.neededBytes - a.neededBytes).map((candidate): FrontierPoint => ({
    forecastBytes: candidate.neededBytes, stepMs: candidate.time.updateMs, tokensPerSecond: candidate.time.tokensPerSecond, numerics: candidate.changed.length > 0 ? 'changed' : 'reordered',
    summary: briefTorchPlan(candidate.plan), chosen: candidate === chosen,
    changes: TORCH_TECHNIQUES.filter(({ value }) => value(candidate.plan) !== value(chosen.plan)).map(({ name, value }) => `${name}: ${value(candidate.plan)}`),
  }));
}

/** From the largest, which is the fastest, to the smallest. */
function paretoOf(candidates: readonly TorchCandidate[]): readonly TorchCandidate[] {
  const sorted = [...candidates].sort((a, b) => a.neededBytes - b.neededBytes || a.time.updateMs - b.time.updateMs);
  const kept: TorchCandidate[] = [];
  for (const candidate of sorted) if (kept.length === 0 || candidate.time.updateMs < kept.at(-1)!.time.updateMs * (1 - WORTH)) kept.push(candidate);
  return kept.reverse();
}

/** At most so many, spread over memory by ratio, with both ends and the chosen one. */
function thinned(points: readonly TorchCandidate[], chosen: TorchCandidate): readonly TorchCandidate[] {
  if (points.length <= POINTS) return points;
  const [most, least] = [points[0]!.neededBytes, points.at(-1)!.neededBytes];
  const wanted = Array.from({ length: POINTS }, (_, index) => most * (least / most) ** (index / (POINTS - 1)));
  const kept = new Set(wanted.map((bytes) => points.find(({ neededBytes }) => neededBytes <= bytes * 1.0001) ?? points.at(-1)!));
  return points.filter((point) => kept.has(point) || point === chosen);
}
