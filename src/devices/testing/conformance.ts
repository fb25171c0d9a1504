/**
 * What every device must compute: each sample of each op, as a program of one instruction in an arena full of garbage, against the
 * ops' definitions in f64. A device that passes may differ from another in the last bits, never from itself.
 */

import { alignUp } from '../../base/bytes.ts';
import { decodeElements, dtypeBytes, encodeElements, isFloat } from '../../graph/dtype.ts';
import type { Overwrite } from '../../graph/graph.ts';
import { byteCount, elementCount, formatType, lastAxis, type TensorType } from '../../graph/shape.ts';
import { OPS } from '../../ops/index.ts';
import type { Op, Sample } from '../../ops/op.ts';
import { fillSample } from '../../ops/testing/fill.ts';
import type { Device } from '../device.ts';
import type { Operand, Program } from '../program.ts';

export interface ConformanceCase {
  readonly op: Op;
  readonly sample: Sample;
  /** `matmul_nt: odd sizes, bias` */
  readonly name: string;
  /** Which input holds one NaN or infinity. */
  readonly poison?: { readonly input: number; readonly value: number };
}

/** Of each list of input types. */
const POISONED_SAMPLES = 2;

/** All samples, and a few small ones of each op again with a NaN and an infinity in each of their float inputs. */
export const CONFORMANCE_CASES: readonly ConformanceCase[] = [...OPS.values()].flatMap((op) => {
  const plain = op.samples.map((sample): ConformanceCase => ({ op, sample, name: `${op.name}: ${sample.name}` }));
  return [...plain, ...plain.filter(({ sample }) => toPoison(op).includes(sample)).flatMap(poisoned)];
});

/** Small samples of more than one element, a few for each list of input types: optional inputs and 16 bits are poisoned too. */
function toPoison(op: Op): readonly Sample[] {
  const small = op.samples.filter((sample) => sample.inputs.length > 0 && sample.inputs.every((type) => elementCount(type.shape) <= 3000));
  const types = ({ inputs }: Sample): string => inputs.map(({ dtype }) => dtype).join(' ');
  return [...new Set(small.map(types))].flatMap((list) => {
    const alike = small.filter((sample) => types(sample) === list);
    return alike.slice(alike.length > POISONED_SAMPLES ? 1 : 0).slice(0, POISONED_SAMPLES); // the first is of size 1
  });
}

function poisoned({ op, sample, name }: ConformanceCase): readonly ConformanceCase[] {
  const floats = sample.inputs.flatMap((type, input) => (isFloat(type.dtype) ? [input] : []));
  return floats.flatMap((input) => [NaN, Infinity].map((value) => ({ op, sample, name: `${name}, ${value} in input ${input}`, poison: { input, value } })));
}

const DEFAULT_TOLERANCE = 2e-6;

/** Kernels of these may multiply what is masked by 0: a NaN may reach more elements than the definition says, never fewer. */
const MASKED: ReadonlySet<string> = new Set(['attention', 'attention_backward', 'attention_cached']);

/**
 * What is wrong with `device` in this case; undefined when nothing is. Checks the outputs' values and which of them are finite, that
 * inputs and the bytes around all operands are untouched, and, unless poisoned, that a second run and runs in place give the same bits.
 */
export async function checkConformance(device: Device, testCase: ConformanceCase): Promise<string | undefined> {
  const { op, sample } = testCase;
  const inputs = caseInputs(testCase);
  const outputTypes = op.infer(sample.inputs, sample.attrs);
  const expected = expectedOf(testCase, inputs, outputTypes);
  const must = op.mustOverwrite?.(sample.attrs) ?? [];
  const first = await runOp(device, testCase, must);
  if (first.damage !== undefined) return first.damage;
  for (const [index, type] of outputTypes.entries()) {
    const bytes = first.outputs[index] ?? new Uint8Array();
    const tolerance = { relative: sample.tolerance ?? DEFAULT_TOLERANCE, mayBeNaN: testCase.poison !== undefined && MASKED.has(op.name) };
    const wrong = compare(decodeElements(type.dtype, bytes), expected[index] ?? new Float64Array(), type, tolerance);
    if (wrong !== undefined) return `output ${index} ${formatType(type)}: ${wrong}`;
  }
  if (testCase.poison !== undefined) return undefined;
  const may = (op.mayOverwrite ?? []).filter((o) => fitsInPlace(o, sample.inputs, outputTypes));
  const again = [must, ...may.map((o) => [...must, o]), together([...must, ...may])];
  for (const overwrites of again) {
    const other = await runOp(device, testCase, overwrites);
    if (other.damage !== undefined) return other.damage;
    const same = other.outputs.every((bytes, index) => sameBytes(bytes, first.outputs[index]));
    if (!same) return `other bits in a second run, outputs over inputs: ${JSON.stringify(overwrites)}`;
  }
  return undefined;
}

const known = new WeakMap<ConformanceCase, readonly Float64Array[]>();

/** The definition's outputs, computed once for all devices. */
function expectedOf(testCase: ConformanceCase, inputs: readonly Float64Array[], outputTypes: readonly TensorType[]): readonly Float64Array[] {
  const { op, sample } = testCase;
  const arrays = known.get(testCase) ?? op.reference(inputs, sample.attrs, sample.inputs, outputTypes);
  known.set(testCase, arrays);
  return arrays;
}

/** What is wrong with `device` in these cases, as `name: what`. */
export async function conformanceFailures(device: Device, cases: readonly ConformanceCase[]): Promise<readonly string[]> {
  const failures: string[] = [];
  for (const testCase of cases) {
    const wrong = await checkConformance(device, testCase);
    if (wrong !== undefined) failures.push(`${testCase.name}: ${wrong}`);
  }
  return failures;
}

/** Everything that is wrong with `device`; empty when it conforms. */
export function conformanceSuite(device: Device): Promise<readonly string[]> {
  return conformanceFailures(device, CONFORMANCE_CASES);
}

/** Whether two runs gave the same bits. */
export function sameBytes(a: Uint8Array, b: Uint8Array | undefined): boolean {
  return a.length === b?.length && firstDifference(a, b) === undefined;
}

/** The bytes of all outputs of a case, for comparing devices bit for bit. */
export async function conformanceOutputs(device: Device, testCase: ConformanceCase): Promise<readonly Uint8Array[]> {
  return (await runOp(device, testCase, testCase.op.mustOverwrite?.(testCase.sample.attrs) ?? [])).outputs;
}

/** The elements of a case's inputs; the poisoned one is in the middle of the middle row. */
export function caseInputs({ sample, poison }: Pick<ConformanceCase, 'sample' | 'poison'>): readonly Float64Array[] {
  return fillSample(sample, 7).map((array, index) => {
    if (index !== poison?.input) return array;
    const width = lastAxis(sample.inputs[index]?.shape ?? []);
    return array.with(Math.floor(array.length / width / 2) * width + Math.floor(width / 2), poison.value);
  });
}

/** As many of these as can hold at once. */
function together(overwrites: readonly Overwrite[]): readonly Overwrite[] {
  return overwrites.reduce<readonly Overwrite[]>((kept, o) => (kept.some((k) => k.input === o.input || k.output === o.output) ? kept : [...kept, o]), []);
}

function fitsInPlace({ input, output }: Overwrite, inputs: readonly TensorType[], outputs: readonly TensorType[]): boolean {
  const [from, to] = [inputs[input], outputs[output]];
  return from !== undefined && to !== undefined && from.dtype === to.dtype && byteCount(from) === byteCount(to);
}

/** Bytes left free around each operand, which must stay as they are. */
const GAP_BYTES = 192;
/** Read as f32, bf16 or f16 this is a NaN, so that whatever reads what was never written shows. */
const GARBAGE = 0xff;

interface OpRun {
  readonly outputs: readonly Uint8Array[];
  /** What was written where nothing should be. */
  readonly damage: string | undefined;
}

async function runOp(device: Device, testCase: ConformanceCase, overwrites: readonly Overwrite[]): Promise<OpRun> {
  const { op, sample } = testCase;
  const { program, inputs, outputs } = oneInstruction(device, op, sample, overwrites);
  const arena = await device.allocate(program.arenaBytes);
  try {
    arena.fill(0, program.arenaBytes, GARBAGE);
    caseInputs(testCase).forEach((array, index) => {
      const operand = inputs[index];
      if (operand !== undefined) arena.write(operand.offset, encodeElements(operand.dtype, array));
    });
    const before = arena.read(0, program.arenaBytes);
    const status = await arena.load(program).run();
    if (!status.completed) return { outputs: [], damage: 'the run did not complete' };
    const after = arena.read(0, program.arenaBytes);
    const { workspace } = program.instructions[0] ?? { workspace: { offset: 0, bytes: 0 } };
    const ranges = outputs.map((operand) => ({ start: operand.offset, end: operand.offset + byteCount(operand) }));
    const writable = [...ranges, { start: workspace.offset, end: workspace.offset + workspace.bytes }];
    const results = ranges.map(({ start, end }) => after.slice(start, end));
    for (const { start, end } of writable) after.set(before.subarray(start, end), start);
    const damaged = firstDifference(after, before);
    return { outputs: results, damage: damaged === undefined ? undefined : `byte ${damaged} was changed, which belongs to ${ownerOf(damaged, inputs)}` };
  } finally {
    arena.free();
  }
}

function firstDifference(a: Uint8Array, b: Uint8Array): number | undefined {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return i;
  return undefined;
}

function ownerOf(offset: number, inputs: readonly Operand[]): string {
  const owner = inputs.findIndex((operand) => offset >= operand.offset && offset < operand.offset + byteCount(operand));
  return owner < 0 ? 'no operand' : `input ${owner}`;
}

interface OneInstruction {
  readonly program: Program;
  readonly inputs: readonly Operand[];
  readonly outputs: readonly Operand[];
}

function oneInstruction(device: Device, op: Op, sample: Sample, overwrites: readonly Overwrite[]): OneInstruction {
  let end = device.alignment;
  const place = (bytes: number): number => {
    const offset = alignUp(end + GAP_BYTES, device.alignment);
    end = offset + bytes;
    return offset;
  };
  const operand = ({ dtype, shape }: TensorType): Operand => ({ dtype, shape, offset: place(byteCount({ dtype, shape })) });
  const inputs = sample.inputs.map(operand);
  const outputTypes = op.infer(sample.inputs, sample.attrs);
  const outputs = outputTypes.map((type, index): Operand => {
    const over = overwrites.find((o) => o.output === index);
    const from = over === undefined ? undefined : inputs[over.input];
    return from === undefined ? operand(type) : { dtype: type.dtype, shape: type.shape, offset: from.offset };
  });
  const bytes = device.workspaceBytes(op.name, sample.inputs, outputTypes, sample.attrs);
  const workspace = { offset: place(bytes), bytes };
  const program: Program = {
    name: op.name,
    instructions: [{ op: op.name, inputs, outputs, attrs: sample.attrs, workspace, phase: 'forward', scope: '' }],
    arenaBytes: alignUp(end + GAP_BYTES, device.alignment),
    inputs: {},
    outputs: {},
    commitIndex: 1,
  };
  return { program, inputs, outputs };
}

interface Tolerance {
  /** Of the largest element. */
  readonly relative: number;
  /** Where a number is expected. */
  readonly mayBeNaN: boolean;
}

function compare(actual: Float64Array, expected: Float64Array, type: TensorType, tolerance: Tolerance): string | undefined {
  if (actual.length !== expected.length) return `${actual.length} elements instead of ${expected.length}`;
  let largest = 0;
  let error = 0;
  let worst = 0;
  for (const [i, wanted] of expected.entries()) {
    const got = actual[i] ?? NaN;
    if (Number.isNaN(got) && tolerance.mayBeNaN) continue;
    if (Number.isFinite(got) !== Number.isFinite(wanted)) return `element ${i} is ${got}, and must be ${wanted}`;
    if (!Number.isFinite(wanted)) continue;
    largest = Math.max(largest, Math.abs(wanted));
    if (Math.abs(got - wanted) > error) [error, worst] = [Math.abs(got - wanted), i];
  }
  const allowed = isFloat(type.dtype) && dtypeBytes(type.dtype) >= 2 ? tolerance.relative * largest : 0;
  return error <= allowed ? undefined : `element ${worst} is ${actual[worst]}, and must be ${expected[worst]}: off by ${error}, allowed ${allowed}`;
}
