/**
 * The memory of a run while it runs: one arena, the programs loaded over it, and the ways in and out for weights and optimizer state.
 * Files move through small staging buffers; no tensor ever exists whole on the JavaScript heap.
 */

import { MIB } from '../base/bytes.ts';
import type { Arena, Device, LoadedProgram } from '../devices/device.ts';
import type { Operand, Program } from '../devices/program.ts';
import { decodeElements, dtypeBytes, encodeElements, type DType } from '../graph/dtype.ts';
import { byteCount, elementCount } from '../graph/shape.ts';
import type { MemoryPlan, PersistentBlock } from '../memory/memory-plan.ts';
import type { StorageClass } from '../run/storage-class.ts';

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

  /** Reserves the arena (E_BUDGET when the machine has less) and writes the constants. Weights and state are zero. */
  static async create(device: Device, memory: MemoryPlan, constants: ReadonlyMap<string, readonly number[]>): Promise<TrainingState> {
    const state = new TrainingState(await device.allocate(memory.arenaBytes), memory);
    for (const [name, data] of constants) {
      const block = state.block(name);
      state.arena.write(block.offset, encodeElements(block.value.dtype, data));
    }
    return state;
  }

  /** All persistent values of a class, in arena order. */
  blocks(storage: StorageClass): readonly PersistentBlock[] {
    return [...this.memory.persistent.values()].filter(({ value }) => value.storage === storage);
  }

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
    const { value, offset } = this.block(name);
    return (bytes, byteOffset) => this.arena.writeConverted(offset + (byteOffset / dtypeBytes(from)) * dtypeBytes(value.dtype), value.dtype, bytes, from);
  }

  /** The elements of a persistent value as `to`, in pieces of at most 1 MiB. A piece is valid until the next one is asked for. */
  *pieces(name: string, to: DType): Generator<Uint8Array, void, void> {
    const { value, offset } = this.block(name);
    const count = elementCount(value.shape);
    const perPiece = STAGING_BYTES / dtypeBytes(to);
    const staging = this.staging ?? new Uint8Array(STAGING_BYTES);
    this.staging = undefined; // in use: pieces that are read at the same time have a buffer of their own
    try {
      for (let first = 0; first < count; first += perPiece) {
        yield this.arena.readConverted(offset + first * dtypeBytes(value.dtype), value.dtype, Math.min(perPiece, count - first), to, staging);
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

function inputBytes(operand: Operand, value: InputValue, name: string): Uint8Array {
  const count = elementCount(operand.shape);
  if (typeof value === 'number') {
    if (count !== 1) throw new RangeError(`input '${name}' holds ${count} elements, not one`);
    return encodeElements(operand.dtype, [value]);
  }
  if (operand.dtype !== 'i32' || value.length !== count) throw new RangeError(`input '${name}' holds ${count} ${operand.dtype} elements, ${value.length} i32 were given`);
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}
