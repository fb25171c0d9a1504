/**
 * The reference device: executes programs by the ops' definitions, in f64, and rounds each result into its operand's dtype. Slow;
 * it is what every other device is compared with.
 */

import { FulltuneError } from '../../base/errors.ts';
import { formatBytes } from '../../base/bytes.ts';
import { decodeElements, dtypeBytes, encodeElements, type DType } from '../../graph/dtype.ts';
import { byteCount, type TensorType } from '../../graph/shape.ts';
import { opOf } from '../../ops/index.ts';
import { attr, type Op } from '../../ops/op.ts';
import type { Arena, Device, FileRequest, LoadedProgram, RunStatus } from '../device.ts';
import type { Instruction, Operand, Program } from '../program.ts';

const ALIGNMENT = 64;

/** Timers and signals get their turn after this long. */
const YIELD_AFTER_MS = 8;

export function createReferenceDevice(): Device {
  return {
    name: 'reference',
    description: 'reference (f64, 1 thread)',
    threads: 1,
    alignment: ALIGNMENT,
    workspaceBytes: () => 0,
    allocate: (bytes) => Promise.resolve(new ReferenceArena(bytes)),
    measurePeak: () => Promise.resolve(measureMultiplyAdds()),
  };
}

class ReferenceArena implements Arena {
  readonly bytes: number;
  private memory: Uint8Array | undefined;
  /** The file is memory too. */
  private file: Uint8Array = new Uint8Array();

  constructor(bytes: number) {
    this.bytes = bytes;
    this.memory = reserve(bytes);
  }

  private range(offset: number, length: number): Uint8Array {
    if (this.memory === undefined) throw new RangeError('the arena was freed');
    if (offset < 0 || length < 0 || offset + length > this.bytes) throw new RangeError(`bytes ${offset} to ${offset + length} of an arena of ${this.bytes}`);
    return this.memory.subarray(offset, offset + length);
  }

  read(offset: number, length: number): Uint8Array {
    return this.range(offset, length).slice();
  }

  write(offset: number, bytes: Uint8Array): void {
    this.range(offset, bytes.byteLength).set(bytes);
  }

  writeConverted(offset: number, to: DType, bytes: Uint8Array, from: DType): void {
    this.write(offset, convert(bytes, from, to));
  }

  readConverted(offset: number, from: DType, count: number, to: DType): Uint8Array {
    return convert(this.read(offset, count * dtypeBytes(from)), from, to);
  }

  fill(offset: number, length: number, byte: number): void {
    this.range(offset, length).fill(byte);
  }

  get fileBytes(): number {
    return this.file.byteLength;
  }

  attachFile({ bytes }: FileRequest): void {
    if (this.file.byteLength > 0) throw new Error('the arena has a file already');
    this.file = reserve(bytes);
  }

  private fileRange(at: number, length: number): Uint8Array {
    if (!(at >= 0 && length >= 0 && at + length <= this.file.byteLength)) throw new RangeError(`bytes ${at} to ${at + length} of a file of ${this.file.byteLength}`);
    return this.file.subarray(at, at + length);
  }

  readFile(at: number, length: number): Uint8Array {
    return this.fileRange(at, length).slice();
  }

  writeFile(at: number, bytes: Uint8Array): void {
    this.fileRange(at, bytes.byteLength).set(bytes);
  }

  load(program: Program): LoadedProgram {
    if (program.arenaBytes > this.bytes) throw new RangeError(`program '${program.name}' needs ${program.arenaBytes} bytes of an arena of ${this.bytes}`);
    for (const { op, inputs, outputs, attrs } of program.instructions) {
      const { file } = opOf(op);
      const moved = file === 'read' ? outputs[0] : file === 'write' ? inputs[0] : undefined;
      if (moved !== undefined) this.fileRange(attr(attrs, 'at'), byteCount(moved));
    }
    return new ReferenceProgram(program, this);
  }

  free(): void {
    this.memory = undefined;
    this.file = new Uint8Array();
  }
}

function reserve(bytes: number): Uint8Array {
  try {
    return new Uint8Array(bytes);
  } catch (cause) {
    throw new FulltuneError('E_BUDGET', `the reference device cannot reserve ${formatBytes(bytes)} in one buffer`, { cause, remedy: 'Use the cpu device.' });
  }
}

class ReferenceProgram implements LoadedProgram {
  readonly program: Program;
  private readonly arena: Arena;
  private readonly milliseconds: Float64Array;
  private running = false;

  constructor(program: Program, arena: Arena) {
    this.program = program;
    this.arena = arena;
    this.milliseconds = new Float64Array(program.instructions.length);
  }

  async run(options: { readonly signal?: AbortSignal } = {}): Promise<RunStatus> {
    if (this.running) throw new Error(`program '${this.program.name}' is already running`);
    this.running = true;
    const start = performance.now();
    const elapsed = (): number => performance.now() - start;
    let yielded = 0;
    try {
      for (const [position, instruction] of this.program.instructions.entries()) {
        if (elapsed() - yielded > YIELD_AFTER_MS) {
          await new Promise((resolve) => setTimeout(resolve, 0));
          yielded = elapsed();
        }
        if (options.signal?.aborted === true && position <= this.program.commitIndex) return { completed: false, milliseconds: elapsed() };
        const begun = performance.now();
        execute(instruction, this.arena);
        this.milliseconds[position] = performance.now() - begun;
      }
      return { completed: true, milliseconds: elapsed() };
    } finally {
      this.running = false;
    }
  }

  timings(): Float64Array {
    return this.milliseconds.slice();
  }
}

/** Reads all operands before it writes any: outputs may share bytes with inputs. */
function execute(instruction: Instruction, arena: Arena): void {
  const { file } = opOf(instruction.op);
  if (file !== undefined) return transfer(file, instruction, arena);
  const inputs = instruction.inputs.map((operand) => decodeElements(operand.dtype, arena.read(operand.offset, byteCount(operand))));
  const results = opOf(instruction.op).reference(inputs, instruction.attrs, instruction.inputs, instruction.outputs);
  instruction.outputs.forEach((operand: Operand, index) => {
    const result = results[index];
    if (result === undefined || result.length !== elementsOf(operand)) throw new RangeError(`${instruction.op}: output ${index} has ${result?.length} elements`);
    arena.write(operand.offset, encodeElements(operand.dtype, result));
  });
}

/** Ops that move bytes to and from the file are no functions of their inputs. Here each transfer is done at once; there is nothing to wait for. */
function transfer(file: NonNullable<Op['file']>, { inputs, outputs, attrs }: Instruction, arena: Arena): void {
  const [from, to] = [inputs[0], outputs[0]];
  switch (file) {
    case 'read':
      if (to !== undefined) arena.write(to.offset, arena.readFile(attr(attrs, 'at'), byteCount(to)));
      return;
    case 'write':
      if (from !== undefined) arena.writeFile(attr(attrs, 'at'), arena.read(from.offset, byteCount(from)));
      if (to !== undefined) arena.fill(to.offset, byteCount(to), 0);
      return;
    case 'wait':
    case 'flush':
      return;
    default:
      return file satisfies never;
  }
}

function elementsOf(type: TensorType): number {
  return byteCount(type) / dtypeBytes(type.dtype);
}

/** Elements of `bytes` from one dtype to another; `bytes` may start anywhere in its buffer. */
export function convert(bytes: Uint8Array, from: DType, to: DType): Uint8Array {
  const aligned = bytes.byteOffset % dtypeBytes(from) === 0 ? bytes : bytes.slice();
  return from === to ? aligned : encodeElements(to, decodeElements(from, aligned));
}

/** FLOPs per second of a plain loop of multiply-adds, the only speed that this device has. */
function measureMultiplyAdds(): number {
  const rounds = 2_000_000;
  const start = performance.now();
  let sum = 0;
  for (let i = 0; i < rounds; i++) sum = sum * 0.999 + i;
  const seconds = (performance.now() - start) / 1000;
  return Number.isFinite(sum) ? (2 * rounds) / Math.max(seconds, 1e-6) : 0;
}
