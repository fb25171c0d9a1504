/**
 * The contract of a device, whole. A device knows ops by name, executes programs over one arena, and knows nothing of models,
 * techniques or planning. Implementations: `cpu` (C kernels), `reference` (defines every op, slow), `null` (no memory, no work).
 */

import type { Attrs } from '../graph/graph.ts';
import type { TensorType } from '../graph/shape.ts';
import type { DType } from '../graph/dtype.ts';
import type { Program } from './program.ts';

/** What decides scratch sizes without a device at hand, so that a plan made elsewhere is the plan that runs. */
export interface DeviceSpec {
  readonly name: string;
  readonly threads: number;
  /** Every offset is a multiple of this. */
  readonly alignment: number;
  /** Scratch bytes that the op's kernel needs for these types. */
  workspaceBytes(op: string, inputs: readonly TensorType[], outputs: readonly TensorType[], attrs: Attrs): number;
}

export interface RunStatus {
  /** False when cancelled before the program's commitIndex: parameters and state are as before. */
  readonly completed: boolean;
  readonly milliseconds: number;
}

/** A program bound to an arena. */
export interface LoadedProgram {
  readonly program: Program;
  /**
   * Runs it once, off the main thread. One run at a time per arena. Resolves also when cancelled. Rejects with E_FILE when a transfer to or from
   * the arena's file fails: no instruction was begun after that was known. When it settles, no transfer is under way.
   */
  run(options?: { readonly signal?: AbortSignal }): Promise<RunStatus>;
  /** Milliseconds per instruction of the last run. */
  timings(): Float64Array;
}

/** The file that an arena may have: `directory` must exist and be on a disk with room for `bytes`. */
export interface FileRequest {
  readonly directory: string;
  readonly bytes: number;
}

/** One block of memory in which every value of a run lives, and, where a plan asks for it, a file beside it for those that are offloaded. */
export interface Arena {
  readonly bytes: number;
  /** Copies out `length` bytes from `offset`. */
  read(offset: number, length: number): Uint8Array;
  write(offset: number, bytes: Uint8Array): void;
  /** Writes elements of another float type, converting on the way (nearest, ties to even). */
  writeConverted(offset: number, to: DType, bytes: Uint8Array, from: DType): void;
  /**
   * Reads `count` elements stored as `from` at `offset`, converted to `to`. Where `into` is given and holds so many, the answer may be a view
   * of it, so that what is read in a loop makes no garbage outside the JavaScript heap.
   */
  readConverted(offset: number, from: DType, count: number, to: DType, into?: Uint8Array): Uint8Array;
  fill(offset: number, length: number, byte: number): void;
  /** Size of the file; 0: there is none. */
  readonly fileBytes: number;
  /** Makes the file, once, before programs that use it are loaded. It holds zeros, has no name, and goes with the arena. Throws E_FILE. */
  attachFile(file: FileRequest): void;
  /** Copies out `length` bytes of the file from byte `at`. Throws E_FILE. */
  readFile(at: number, length: number, into?: Uint8Array): Uint8Array;
  writeFile(at: number, bytes: Uint8Array): void;
  load(program: Program): LoadedProgram;
  /** Gives memory and file back. Nothing of this arena may be used afterwards. */
  free(): void;
}

export interface Device extends DeviceSpec {
  /** One line for people: `cpu (avx512, 2 threads)`. */
  readonly description: string;
  /** Reserves and prefaults the memory; throws E_BUDGET when the machine has less. */
  allocate(bytes: number): Promise<Arena>;
  /** Measured f32 multiply-add rate of all threads, FLOPs per second, registers only. About 150 ms. */
  measurePeak(): Promise<number>;
}
