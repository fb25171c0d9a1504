/** Measures a machine with its own kernels, op by op, for the time model. About ten seconds on two cores. */

import { closeSync, fsyncSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compileProbe } from '../compile/compile-probe.ts';
import type { Calibration } from '../cost/calibration.ts';
import type { Device } from '../devices/device.ts';
import { GraphBuilder } from '../graph/builder.ts';
import type { Attrs } from '../graph/graph.ts';
import { tensor, type TensorType } from '../graph/shape.ts';
import { bytesMoved, opOf, OPS, shapeRules } from '../ops/index.ts';
import { othersShare, processorTimes } from './processor-share.ts';

/** An odd number: the one in the middle counts. */
const RUNS = 5;
const MIB = 1024 * 1024;
/** Written and read to measure the disk; what the system keeps in memory of it counts as its speed, as it does in a run. */
const DISK_BYTES = 256 * MIB;

interface Probe {
  readonly op: string;
  readonly inputs: readonly TensorType[];
  readonly attrs: Attrs;
}

/** Tokens, and the widths on both sides of the weight. */
const PRODUCT_SIZES = [[128, 576, 576], [512, 576, 576], [512, 576, 1536], [512, 1536, 576], [1024, 2048, 2048], [2048, 576, 1536], [512, 576, 16384], [512, 2048, 8192], [256, 256, 256], [2048, 64, 64], [2048, 64, 192]] as const;
/** Rows, tokens of each, and width of the heads. */
const ATTENTION_SIZES = [[16, 128, 64], [4, 512, 64], [1, 2048, 64], [4, 512, 8], [4, 512, 24]] as const;

/** What the machine is called in a calibration. */
export function machineName(device: Device, processor: string): string {
  return `${processor}, ${device.description}`;
}

export interface CalibrateOptions {
  readonly processor: string;
  /** Where the disk is measured. Default: the system's folder for temporary files. */
  readonly folder?: string;
}

export async function calibrate(device: Device, { processor, folder = tmpdir() }: CalibrateOptions): Promise<Calibration> {
  const before = processorTimes();
  const seconds = async (probe: Probe): Promise<number> => (await measure(device, probe)) / 1000;
  const products = [];
  for (const op of ['matmul_nt', 'matmul_nn', 'matmul_tn']) {
    for (const [tokens, inner, outer] of PRODUCT_SIZES) {
      const probe = product(op, { tokens, inner, outer }, 'f32');
      products.push({ op, tokens, inner, outer, flopsPerSecond: flopsOf(probe) / (await seconds(probe)) });
    }
  }
  const [full, half] = [product('matmul_nt', { tokens: 512, inner: 576, outer: 1536 }, 'f32'), product('matmul_nt', { tokens: 512, inner: 576, outer: 1536 }, 'bf16')];
  const halfStorageShare = (await seconds(full)) / (await seconds(half));
  const attention = [];
  for (const [rows, length, headWidth] of ATTENTION_SIZES) {
    for (const probe of attentionProbes({ rows, length, headWidth })) attention.push({ op: probe.op, length, headWidth, flopsPerSecond: flopsOf(probe) / (await seconds(probe)) });
  }
  const bytesPerSecond: Record<string, number> = {};
  for (const probe of memoryProbes()) bytesPerSecond[probe.op] = bytesMoved(probe.op, probe.inputs, outputsOf(probe), probe.attrs) / (await seconds(probe));
  const tiny = { op: 'add', inputs: [tensor('f32', 1, 1), tensor('f32', 1, 1)], attrs: {} };
  return {
    version: 2, machine: machineName(device, processor), products, halfStorageShare, attention, bytesPerSecond,
    flopsPerSecond: {}, instructionMs: Math.max(5e-4, await measure(device, tiny)), othersShare: othersShare(before, processorTimes()), ...measureDisk(folder),
  };
}

function product(op: string, { tokens, inner, outer }: { readonly tokens: number; readonly inner: number; readonly outer: number }, weight: 'f32' | 'bf16'): Probe {
  if (op === 'matmul_tn') return { op, inputs: [tensor('f32', 1, tokens, inner), tensor('f32', 1, tokens, outer)], attrs: { accumulate: 0 } };
  return { op, inputs: [tensor('f32', 1, tokens, inner), op === 'matmul_nt' ? tensor(weight, outer, inner) : tensor(weight, inner, outer)], attrs: { bias: 0 } };
}

function attentionProbes({ rows, length, headWidth }: { readonly rows: number; readonly length: number; readonly headWidth: number }): readonly Probe[] {
  const [heads, keyValueHeads] = [8, 4];
  const [q, k, starts, lse] = [tensor('f32', rows, length, heads * headWidth), tensor('f32', rows, length, keyValueHeads * headWidth), tensor('i32', rows, length), tensor('f32', rows, length, heads)];
  const attrs = { heads, keyValueHeads, headWidth, scale: 0.125 };
  return [{ op: 'attention', inputs: [q, k, k, starts], attrs }, { op: 'attention_backward', inputs: [q, k, k, starts, q, lse, q], attrs }];
}

/** Ops that are bound by memory, on tensors that no cache holds. */
function memoryProbes(): readonly Probe[] {
  const x = tensor('f32', 2, 2048, 2048);
  const [width, stats, one] = [tensor('f32', 2048), tensor('f32', 2, 2048, 1), tensor('f32', 1)];
  const elements = tensor('f32', 4096, 2048);
  const logits = tensor('f32', 1, 256, 32768);
  const [labels, lse] = [tensor('i32', 1, 256), tensor('f32', 1, 256)];
  const probes: readonly Probe[] = [
    { op: 'add', inputs: [x, x], attrs: {} },
    { op: 'swiglu', inputs: [x, x], attrs: {} },
    { op: 'swiglu_backward', inputs: [x, x, x], attrs: {} },
    { op: 'gelu', inputs: [x], attrs: { tanh: 1 } },
    { op: 'gelu_backward', inputs: [x, x], attrs: { tanh: 1 } },
    { op: 'rmsnorm', inputs: [x, width], attrs: { epsilon: 1e-5 } },
    { op: 'rmsnorm_backward', inputs: [x, width, stats, x], attrs: {} },
    { op: 'rmsnorm_weight_gradient', inputs: [x, stats, x], attrs: { width: 2048, accumulate: 0 } },
    { op: 'rotary', inputs: [x, tensor('f32', 2, 2048, 64)], attrs: { inverse: 0 } },
    { op: 'column_sum', inputs: [x], attrs: { accumulate: 0 } },
    { op: 'cast', inputs: [x], attrs: { to: 1 } },
    { op: 'cross_entropy', inputs: [logits, labels, one], attrs: {} },
    { op: 'cross_entropy_backward', inputs: [logits, labels, lse, one, one], attrs: {} },
    { op: 'sum_squares', inputs: [elements], attrs: {} },
    ...updateProbes(elements),
  ];
  return probes.filter(({ op }) => OPS.has(op));
}

/** The optimizers, each at an update that comes early in a run. */
function updateProbes(p: TensorType): readonly Probe[] {
  const [one, step] = [tensor('f32', 1), tensor('i32', 1)];
  const names = (op: string, values: Attrs): Attrs => Object.fromEntries((OPS.get(op)?.attrs ?? []).map((name) => [name, values[name] ?? 0]));
  const adam = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
  const blocks = tensor('f32', Math.ceil((p.shape[0]! * p.shape[1]!) / 256));
  const codes = tensor('u8', ...p.shape);
  return [
    { op: 'adamw', inputs: [p, p, p, p, one, step, one], attrs: names('adamw', adam) },
    { op: 'adamw_8bit', inputs: [p, p, codes, blocks, codes, blocks, one, step, one], attrs: names('adamw_8bit', adam) },
  ];
}

function outputsOf({ op, inputs, attrs }: Probe): readonly TensorType[] {
  return opOf(op).infer(inputs, attrs);
}

function flopsOf(probe: Probe): number {
  return opOf(probe.op).flops(probe.inputs, outputsOf(probe), probe.attrs);
}

/** Milliseconds of one node: the median of a few runs. The best is some 5 % less, and a step is not made of its ops' best moments. */
async function measure(device: Device, { op, inputs, attrs }: Probe): Promise<number> {
  const builder = new GraphBuilder(shapeRules);
  const overwrites = opOf(op).mustOverwrite?.(attrs) ?? [];
  const overwritten = new Set(overwrites.map(({ input }) => input));
  const ids = inputs.map(({ dtype, shape }, index) => (overwritten.has(index)
    ? builder.persistent(`p${index}`, 'optimizer-state', { dtype, shape })
    : builder.input(`x${index}`, dtype, ...shape)));
  const outputs = builder.node(op, ids, attrs, { overwrites });
  const kept = outputs.find((_, index) => !overwrites.some(({ output }) => output === index));
  if (kept !== undefined) builder.output('y', kept);
  const program = compileProbe(builder.finish(), device);
  const arena = await device.allocate(program.arenaBytes);
  try {
    const loaded = arena.load(program);
    const times: number[] = [];
    for (let run = 0; run <= RUNS; run++) {
      await loaded.run();
      if (run > 0) times.push(loaded.timings()[0]!);
    }
    return times.sort((a, b) => a - b)[Math.floor(RUNS / 2)]!;
  } finally {
    arena.free();
  }
}

/** Sequential rates of the file system that holds `folder`. */
function measureDisk(folder: string): Pick<Calibration, 'diskReadBytesPerSecond' | 'diskWriteBytesPerSecond'> {
  const scratch = mkdtempSync(join(folder, 'fulltune-disk-'));
  const piece = Buffer.alloc(8 * MIB, 1);
  const file = openSync(join(scratch, 'probe'), 'w+');
  try {
    const began = performance.now();
    for (let at = 0; at < DISK_BYTES; at += piece.length) writeSync(file, piece, 0, piece.length, at);
    fsyncSync(file);
    const written = performance.now();
    for (let at = 0; at < DISK_BYTES; at += piece.length) readSync(file, piece, 0, piece.length, at);
    const rate = (ms: number): number => DISK_BYTES / (Math.max(ms, 0.1) / 1000);
    return { diskWriteBytesPerSecond: rate(written - began), diskReadBytesPerSecond: rate(performance.now() - written) };
  } finally {
    closeSync(file);
    rmSync(scratch, { recursive: true, force: true });
  }
}
