/**
 * The memory of a run while it runs: one arena, the programs loaded over it, the file beside it where the plan asks for one, and the ways in and
 * out for weights and optimizer state, wherever they live.
 * Files move through small staging buffers; no tensor ever exists whole on the JavaScript heap.
 */

import { tmpdir } from 'node:os';
import { MIB } from '../base/bytes.ts';
import type { Arena, Device, LoadedProgram } from '../devices/device.ts';
import type { Operand, Program } from '../devices/program.ts';
import { decodeElements, dtypeBytes, encodeElements, type DType } from '../graph/dtype.ts';
import { byteCount, elementCount } from '../graph/shape.ts';
import { checkDiskSpace } from '../files/disk.ts';
import type { FileBlock } from '../memory/file-layout.ts';
import type { MemoryPlan, PersistentBlock } from '../memory/memory-plan.ts';
import type { StorageClass } from '../run/storage-class.ts';

export interface StateOptions {
  /** Where the file goes, if there is one. Default: the system's folder for temporary files. */
  readonly directory?: string;
  /** Nothing will be written: the disk is not asked for room. */
  readonly rehearsal?: boolean;
}

/** A multiple of every element size. Larger pieces are written no faster. */
const STAGING_BYTES = MIB;

/** What can be given to a runtime input: numbers for scalars, int32 arrays for ids and the like. */
export type InputValue = Int32Array | number;

export class TrainingState {
  readonly arena: Arena;
  readonly memory: MemoryPlan;
  private readonly loaded = new Map<Program, LoadedProgram>();
  /** Made by the first save and used by all: a buffer per piece would be garbage that the heap's limits do not see. */
  private staging: Uint8Array | undefined;

  private constructor(arena: Arena, memory: MemoryPlan) {
    this.arena = arena;
    this.memory = memory;
  }

  /**
   * Reserves the arena (E_BUDGET when the machine has less) and the file (E_DISK, E_FILE), and writes the constants. Weights and state are zero.
   */
  static async create(device: Device, memory: MemoryPlan, constants: ReadonlyMap<string, readonly number[]>, options: StateOptions = {}): Promise<TrainingState> {
    const directory = options.directory ?? tmpdir();
    if (memory.fileBytes > 0 && options.rehearsal !== true) checkDiskSpace(directory, memory.fileBytes, 'Offloaded values');
    const state = new TrainingState(await device.allocate(memory.arenaBytes), memory);
    try {
      if (memory.fileBytes > 0) state.arena.attachFile({ directory, bytes: memory.fileBytes });
    } catch (error) {
      state.free();
      throw error;
    }
    for (const [name, data] of constants) {
      const block = state.block(name);
      state.arena.write(block.offset, encodeElements(block.value.dtype, data));
    }
    return state;
  }

  /** All persistent values of a class, in arena and file, in the order in which the graph made them. */
  blocks(storage: StorageClass): readonly (PersistentBlock | FileBlock)[] {
    const inArena = [...this.memory.persistent.values()].filter(({ value }) => value.storage === storage);
    const filed = [...this.memory.filed.values()].filter(({ value }) => value.storage === storage);
    // Those of one class are all made by one graph: its ids tell the order.
    return filed.length === 0 ? inArena : [...inArena, ...filed].sort((a, b) => a.value.id - b.value.id);
  }

  /** A persistent value that lives in the arena. */

  block(name: string): PersistentBlock {
    const block = this.memory.persistent.get(name);
    if (block === undefined) throw new RangeError(`no persistent value is called '${name}'`);
    return block;
  }

  program(program: Program): LoadedProgram {
    let loaded = this.loaded.get(program);
    if (loaded === undefined) {
      loaded = this.arena.load(program);
      this.loaded.set(program, loaded);
    }
    return loaded;
  }

  /** Writes runtime inputs that the program has; names it does not read are left out. */
  setInputs(program: Program, values: Readonly<Record<string, InputValue>>): void {
    for (const [name, operand] of Object.entries(program.inputs)) {
      const value = values[name];
      if (value === undefined) throw new RangeError(`program '${program.name}' needs the input '${name}'`);
      this.arena.write(operand.offset, inputBytes(operand, value, name));
    }
  }

  /** An output of the last run as f64. */
  output(program: Program, name: string): Float64Array {
    const operand = program.outputs[name];
    if (operand === undefined) throw new RangeError(`program '${program.name}' has no output '${name}'`);
    return decodeElements(operand.dtype, this.arena.read(operand.offset, byteCount(operand)));
  }

  /** Receives the elements of a persistent value piece by piece, converting; `elementOffset` of successive pieces ascends. */
  writer(name: string, from: DType): (bytes: Uint8Array, byteOffset: number) => void {
    const filed = this.memory.filed.get(name);
    if (filed !== undefined) {
      const { at, value } = filed;
      return (bytes, byteOffset) => this.arena.writeFile(at + (byteOffset / dtypeBytes(from)) * dtypeBytes(value.dtype), converted(bytes, from, value.dtype));
    }
    const { value, offset } = this.block(name);
    if (from === value.dtype) return (bytes, byteOffset) => this.arena.write(offset + byteOffset, bytes);
    return (bytes, byteOffset) => this.arena.writeConverted(offset + (byteOffset / dtypeBytes(from)) * dtypeBytes(value.dtype), value.dtype, bytes, from);
  }

  /** The elements of a persistent value as `to`, in pieces of at most 1 MiB. A piece is valid until the next one is asked for. */
  *pieces(name: string, to: DType): Generator<Uint8Array, void, void> {
    const filed = this.memory.filed.get(name);
    const { value } = filed ?? this.block(name);
    const count = elementCount(value.shape);
    const size = dtypeBytes(value.dtype);
    const perPiece = STAGING_BYTES / Math.max(size, dtypeBytes(to));
    const staging = this.staging ?? new Uint8Array(STAGING_BYTES);
    this.staging = undefined; // in use: pieces that are read at the same time have a buffer of their own
    try {
      for (let first = 0; first < count; first += perPiece) {
        const some = Math.min(perPiece, count - first);
        if (filed === undefined) yield this.arena.readConverted(this.block(name).offset + first * size, value.dtype, some, to, staging);
        else yield converted(this.arena.readFile(filed.at + first * size, some * size, staging), value.dtype, to);
      }
    } finally {
      this.staging = staging;
    }
  }

  free(): void {
    this.loaded.clear();
    this.arena.free();
  }
}

/** Elements as they lie in a file, from one dtype to another. `bytes` may start anywhere in its buffer. */
function converted(bytes: Uint8Array, from: DType, to: DType): Uint8Array {
  return from === to ? bytes : encodeElements(to, decodeElements(from, bytes.slice()));
}

function inputBytes(operand: Operand, value: InputValue, name: string): Uint8Array {
  const count = elementCount(operand.shape);
  if (typeof value === 'number') {
    if (count !== 1) throw new RangeError(`input '${name}' holds ${count} elements, not one`);
    return encodeElements(operand.dtype, [value]);
  }
  if (operand.dtype !== 'i32' || value.length !== count) throw new RangeError(`input '${name}' holds ${count} ${operand.dtype} elements, ${value.length} i32 were given`);
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}
