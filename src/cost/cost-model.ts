/**
 * Predicted time of a graph: a roofline per node (Williams, Waterman & Patterson 2009) with the rates that were measured. Products and attention
 * go by their FLOPs at the rate of their size, everything else by the bytes that it moves.
 */

import { isFloat } from '../graph/dtype.ts';
import type { Attrs, Graph } from '../graph/graph.ts';
import { byteCount, lastAxis, leadingCount, type TensorType } from '../graph/shape.ts';
import { bytesMoved, opOf } from '../ops/index.ts';
import { BLOCK_TOKENS } from '../ops/token-blocks.ts';
import type { AttentionRate, Calibration } from './calibration.ts';

/** What the data of a run decide. */
export interface Workload {
  /** Tokens that carry loss, of all tokens of the rows. */
  readonly lossShare: number;
  /** Σ of the squared document lengths, of Σ of the squared row lengths: attention stays inside documents. */
  readonly attentionShare: number;
}

export const FULL_ROWS: Workload = { lossShare: 1, attentionShare: 1 };

export interface CostModel {
  /** Milliseconds of one node. */
  nodeMs(op: string, inputs: readonly TensorType[], outputs: readonly TensorType[], attrs: Attrs): number;
  /** Milliseconds of one run. Reading and writing files goes on beside the computing: the longer of the two counts. */
  graphMs(graph: Graph): number;
  /** The two, apart. */
  busyMs(graph: Graph): readonly [computing: number, transferring: number];
}

const PRODUCTS: ReadonlySet<string> = new Set(['matmul_nn', 'matmul_nt', 'matmul_tn']);
/** What the projection with the loss does with its logits besides: the same work as these ops. */
const SOFTMAXES: Readonly<Record<string, readonly string[]>> = { linear_cross_entropy: ['cross_entropy'], linear_cross_entropy_backward: ['cross_entropy', 'cross_entropy_backward'] };
const FROM_FILE = 'offload_read';
const TO_FILE = 'offload_write';

export function createCostModel(calibration: Calibration, workload: Workload): CostModel {
  const known = new Map<string, number>();
  const otherBytesPerSecond = median(Object.values(calibration.bytesPerSecond));

  function compute(op: string, inputs: readonly TensorType[], outputs: readonly TensorType[], attrs: Attrs): number {
    const rule = opOf(op);
    const flops = rule.flops(inputs, outputs, attrs);
    if (PRODUCTS.has(op)) return flops / productRate(calibration, op, inputs, outputs);
    if (op === 'attention' || op === 'attention_backward') {
      return (flops * workload.attentionShare) / attentionRate(calibration, op, { length: inputs[0]?.shape[1] ?? 1, headWidth: attrs['headWidth'] ?? 1 });
    }
    if (rule.bound === 'compute') {
      const rate = calibration.flopsPerSecond[op] ?? projectionRate(calibration, inputs, attrs);
      return workload.lossShare * (flops / rate + (SOFTMAXES[op] ?? []).reduce((sum, name) => sum + softmaxBytes(name, inputs) / (calibration.bytesPerSecond[name] ?? otherBytesPerSecond), 0));
    }
    return bytesMoved(op, inputs, outputs, attrs) / (calibration.bytesPerSecond[op] ?? otherBytesPerSecond);
  }

  const nodeMs: CostModel['nodeMs'] = (op, inputs, outputs, attrs) => {
    let key = op;
    for (const type of inputs) key += keyOf(type);
    for (const type of outputs) key += keyOf(type);
    for (const name in attrs) if (name !== 'first' && name !== 'at') key += `;${attrs[name]!}`; // where elements lie costs nothing
    let ms = known.get(key);
    if (ms === undefined) {
      ms = calibration.instructionMs + 1000 * compute(op, inputs, outputs, attrs);
      known.set(key, ms);
    }
    return ms;
  };

  const busyMs: CostModel['busyMs'] = ({ nodes, values }) => {
    let computing = 0;
    let transferring = 0;
    for (const { op, inputs, outputs, attrs } of nodes) {
      if (op === FROM_FILE) transferring += 1000 * bytesOf(outputs.map((id) => values[id]!)) / calibration.diskReadBytesPerSecond;
      else if (op === TO_FILE) transferring += 1000 * bytesOf(inputs.map((id) => values[id]!)) / calibration.diskWriteBytesPerSecond;
      else if (opOf(op).file !== undefined) computing += calibration.instructionMs; // it waits for one of these
      else computing += nodeMs(op, inputs.map((id) => values[id]!), outputs.map((id) => values[id]!), attrs);
    }
    return [computing, transferring];
  };

  return { nodeMs, busyMs, graphMs: (graph) => Math.max(...busyMs(graph)) };
}

function keyOf({ dtype, shape }: TensorType): string {
  let key: string = dtype;
  for (const size of shape) key += `,${size}`;
  return key;
}

function bytesOf(types: readonly TensorType[]): number {
  return types.reduce((sum, type) => sum + byteCount(type), 0);
}

/** The rate of a product: between the measured sizes by their distance in powers of two. */
function productRate(calibration: Calibration, op: string, inputs: readonly TensorType[], outputs: readonly TensorType[]): number {
  const [a, b] = [inputs[0]!, inputs[1]!];
  const tokens = leadingCount(a.shape);
  const [inner, outer] = op === 'matmul_tn' ? [lastAxis(a.shape), lastAxis(b.shape)] : [lastAxis(a.shape), lastAxis(outputs[0]!.shape)];
  const rate = between(calibration.products.filter((point) => point.op === op), (point) => [point.tokens / tokens, point.inner / inner, point.outer / outer]);
  const narrow = [a, b].filter(({ dtype }) => isFloat(dtype) && dtype !== 'f32').length;
  return rate * (narrow === 0 ? 1 : calibration.halfStorageShare);
}

function attentionRate(calibration: Calibration, op: string, { length, headWidth }: Pick<AttentionRate, 'length' | 'headWidth'>): number {
  return between(calibration.attention.filter((point) => point.op === op), (point) => [point.length / length, point.headWidth / headWidth]);
}

/** An op that projects a slice of tokens at a time works at the rate of products of that many tokens. */
function projectionRate(calibration: Calibration, inputs: readonly TensorType[], attrs: Attrs): number {
  const [hidden, weight] = [inputs[0]!, inputs[1]!];
  const tokens = Math.min(leadingCount(hidden.shape), (attrs['blocks'] ?? 1) * BLOCK_TOKENS);
  return between(calibration.products, (point) => [point.tokens / tokens, point.inner / lastAxis(hidden.shape), point.outer / (weight.shape[0] ?? 1)]);
}

/** Bytes of all logits of a projection: read by `cross_entropy`, read and written by its gradient. */
function softmaxBytes(op: string, inputs: readonly TensorType[]): number {
  const [hidden, weight] = [inputs[0]!, inputs[1]!];
  return leadingCount(hidden.shape) * (weight.shape[0] ?? 1) * 4 * (op === 'cross_entropy' ? 1 : 2);
}

/** Mean of the points' rates, each weighted by the inverse square of its distance: `ratios` says how many times larger a point is, per axis. */
function between<T extends { readonly flopsPerSecond: number }>(points: readonly T[], ratios: (point: T) => readonly number[]): number {
  let sum = 0;
  let weights = 0;
  for (const point of points) {
    const distance = ratios(point).reduce((total, ratio) => total + Math.log2(ratio) ** 2, 0);
    const weight = 1 / (distance + 0.05) ** 1.5;
    sum += weight / point.flopsPerSecond;
    weights += weight;
  }
  return weights / sum;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}
