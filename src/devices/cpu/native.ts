/**
 * The native module, typed. Devices, arenas and programs are numbers; arguments are checked in C, so a wrong one throws. Errors
 * carry a `code`: an ErrorCode, `BUSY` (a program is running in the arena) or `FREED`.
 */

import { FulltuneError, type ErrorCode } from '../../base/errors.ts';
import type { DType } from '../../graph/dtype.ts';

declare const brand: unique symbol;
export type DeviceHandle = number & { readonly [brand]: 'device' };
export type ArenaHandle = number & { readonly [brand]: 'arena' };
export type ProgramHandle = number & { readonly [brand]: 'program' };

export interface NativeTarget {
  readonly name: string;
  /** Whether this processor runs it. */
  readonly supported: boolean;
}

export interface NativeRun {
  readonly completed: boolean;
  readonly milliseconds: number;
}

export interface NativeModule {
  /** From the plainest to the best. */
  targets(): readonly NativeTarget[];
  /** Op name to its attribute names in the order of the encoded program, separated by spaces. */
  signatures(): Readonly<Record<string, string>>;
  createDevice(target: string, threads: number): DeviceHandle;
  /** Ends the device's threads, at once or with its last arena. */
  destroyDevice(device: DeviceHandle): void;
  /** FLOPs per second of f32 multiply-adds in registers, all threads. */
  measurePeak(device: DeviceHandle): Promise<number>;
  /** Zero-filled and present. `guard` puts unreadable pages at both ends (for tests). */
  allocate(device: DeviceHandle, bytes: number, guard: boolean): Promise<ArenaHandle>;
  freeArena(arena: ArenaHandle): void;
  read(arena: ArenaHandle, offset: number, to: Uint8Array): void;
  write(arena: ArenaHandle, offset: number, from: Uint8Array): void;
  fill(arena: ArenaHandle, offset: number, length: number, byte: number): void;
  writeConverted(arena: ArenaHandle, offset: number, arenaDType: number, from: Uint8Array, fromDType: number): void;
  readConverted(arena: ArenaHandle, offset: number, arenaDType: number, to: Uint8Array, toDType: number): void;
  /** Creates `path`, sparse, and removes the name at once: the file lives as long as the arena. */
  attachFile(arena: ArenaHandle, path: string, bytes: number): void;
  readFile(arena: ArenaHandle, at: number, to: Uint8Array): void;
  writeFile(arena: ArenaHandle, at: number, from: Uint8Array): void;
  load(arena: ArenaHandle, code: Float64Array, opNames: readonly string[]): ProgramHandle;
  freeProgram(program: ProgramHandle): void;
  /** Scratch that the kernel of instruction 0 asks for. */
  workspaceBytes(device: DeviceHandle, code: Float64Array, opNames: readonly string[]): number;
  run(program: ProgramHandle): Promise<NativeRun>;
  /** True when the run under way stops before it changes parameters or state. */
  cancel(program: ProgramHandle): boolean;
  /** Instructions finished in the current or last run. */
  progress(program: ProgramHandle): number;
  /** Milliseconds per instruction of the last finished run. */
  timings(program: ProgramHandle, milliseconds: Float64Array): void;
}

/** Numbers of the element types in C (`ft_dtype`). */
export const DTYPE_NUMBERS: Readonly<Record<DType, number>> = { f32: 0, bf16: 1, f16: 2, i32: 3, u8: 4 };

/** An error of the native module as a FulltuneError where the user or the machine is the cause; any other error as it is. */
export function fromNative(error: unknown): unknown {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string' && error.code.startsWith('E_')) {
    return new FulltuneError(error.code as ErrorCode, error.message, { cause: error });
  }
  return error;
}
