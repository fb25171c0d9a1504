/** An arena of the cpu device, and programs bound to it: the thin TypeScript side of native/binding.c. */

import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { FulltuneError } from '../../base/errors.ts';
import { dtypeBytes, isFloat, type DType } from '../../graph/dtype.ts';
import { shapeRules } from '../../ops/index.ts';
import { formatType, sameShape, type TensorType } from '../../graph/shape.ts';
import type { Arena, Device, FileRequest, LoadedProgram, RunStatus } from '../device.ts';
import type { Instruction, Program } from '../program.ts';
import { encodeProgram } from './encode.ts';
import { DTYPE_NUMBERS, fromNative, type ArenaHandle, type NativeModule, type ProgramHandle } from './native.ts';

/** An arena that was dropped without `free()` gives its memory back when it is collected. */
const forgotten = new FinalizationRegistry<() => void>((release) => release());

interface ArenaContext {
  readonly bytes: number;
  /** Kept reachable, so that the device's threads live as long as its arenas. */
  readonly device: Device;
}

export function createCpuArena(native: NativeModule, handle: ArenaHandle, context: ArenaContext): Arena {
  let file: FileRequest | undefined;
  const arena: Arena = {
    bytes: context.bytes,
    read(offset, length) {
      const to = new Uint8Array(length);
      native.read(handle, offset, to);
      return to;
    },
    write: (offset, bytes) => native.write(handle, offset, bytes),
    writeConverted(offset, to, bytes, from) {
      expectFloats(to, from);
      native.writeConverted(handle, offset, DTYPE_NUMBERS[to], bytes, DTYPE_NUMBERS[from]);
    },
    readConverted(offset, from, count, to, into) {
      const bytes = roomFor(count * dtypeBytes(to), into);
      if (from === to) {
        native.read(handle, offset, bytes);
        return bytes;
      }
      expectFloats(to, from);
      native.readConverted(handle, offset, DTYPE_NUMBERS[from], bytes, DTYPE_NUMBERS[to]);
      return bytes;
    },
    fill: (offset, length, byte) => native.fill(handle, offset, length, byte),
    get fileBytes() {
      return file?.bytes ?? 0;
    },
    attachFile(request) {
      const { directory, bytes } = request;
      const path = join(directory, `.fulltune-offload-${randomUUID()}`);
      onFile(directory, () => native.attachFile(handle, path, bytes));
      file = request;
    },
    readFile(at, length, into) {
      const to = roomFor(length, into);
      onFile(file?.directory, () => native.readFile(handle, at, to));
      return to;
    },
    writeFile: (at, bytes) => onFile(file?.directory, () => native.writeFile(handle, at, bytes)),
    load: (program) => loadProgram(native, handle, program, arena, { ...context, fileDirectory: () => file?.directory }),
    free() {
      native.freeArena(handle);
      forgotten.unregister(arena);
    },
  };
  forgotten.register(arena, () => native.freeArena(handle), arena);
  return arena;
}

/** Adds to a complaint about the arena's file where it lies and what to do. */
function fileError(error: unknown, directory: string | undefined): unknown {
  const known = fromNative(error);
  if (!(known instanceof FulltuneError) || known.code !== 'E_FILE') return known;
  return new FulltuneError('E_FILE', known.message, {
    ...(directory === undefined ? {} : { where: directory }),
    remedy: 'Free room on that disk, or use --output-dir on another one; fulltune resume then goes on from the last checkpoint, which is untouched.',
    cause: error,
  });
}

function onFile(directory: string | undefined, body: () => void): void {
  try {
    body();
  } catch (error) {
    throw fileError(error, directory);
  }
}

function roomFor(length: number, into: Uint8Array | undefined): Uint8Array {
  return into !== undefined && into.byteLength >= length ? into.subarray(0, length) : new Uint8Array(length);
}

function expectFloats(to: DType, from: DType): void {
  if (!isFloat(to) || !isFloat(from)) throw new TypeError(`no conversion from ${from} to ${to}`);
}

/** `arena` and the device in `context` stay reachable through the closures of the result. */
function loadProgram(native: NativeModule, arenaHandle: ArenaHandle, program: Program, arena: Arena, context: ArenaContext & { fileDirectory(): string | undefined }): LoadedProgram {
  let handle: ProgramHandle;
  try {
    const { code, opNames } = encodeProgram(program, native.signatures());
    handle = native.load(arenaHandle, code, opNames);
  } catch (error) {
    throw inProgram(fromNative(error), program, context);
  }
  program.instructions.forEach((instruction, index) => {
    const wrong = shapeError(instruction);
    if (wrong === undefined) return;
    native.freeProgram(handle);
    throw inProgram(new FulltuneError('E_DEVICE', `instruction ${index} (${instruction.op}): ${wrong}`), program, context);
  });
  const loaded: LoadedProgram = {
    program,
    async run({ signal } = {}): Promise<RunStatus> {
      if (signal?.aborted === true) return { completed: false, milliseconds: 0 };
      const running = native.run(handle);
      const cancel = (): void => void native.cancel(handle);
      signal?.addEventListener('abort', cancel, { once: true });
      try {
        return await running;
      } catch (error) {
        throw fileError(error, context.fileDirectory());
      } finally {
        signal?.removeEventListener('abort', cancel);
        keepAlive(arena);
      }
    },
    timings() {
      const milliseconds = new Float64Array(program.instructions.length);
      native.timings(handle, milliseconds);
      keepAlive(arena);
      return milliseconds;
    },
  };
  return loaded;
}

/** Why the operands do not fit each other. Kernels go by the sizes of some and trust those of the others: a wrong one would crash. */
function shapeError({ op, inputs, outputs, attrs }: Instruction): string | undefined {
  let types: readonly TensorType[];
  try {
    types = shapeRules.infer(op, inputs, attrs);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  const wrong = types.findIndex((type, index) => {
    const operand = outputs[index];
    return operand !== undefined && (operand.dtype !== type.dtype || !sameShape(operand.shape, type.shape));
  });
  const [type, operand] = [types[wrong], outputs[wrong]];
  if (type === undefined || operand === undefined) return undefined;
  return `output ${wrong} is ${formatType(operand)}, and its inputs make ${formatType(type)}`;
}

/** A use that no optimiser may drop: what it is given is not collected before. */
function keepAlive(value: object): void {
  if (typeof value !== 'object') throw new TypeError('not an object');
}

/** Adds the program, instruction and thread count to a complaint of the native side. */
function inProgram(error: unknown, program: Program, context: ArenaContext): unknown {
  if (!(error instanceof FulltuneError) || error.where !== undefined) return error;
  const index = /^instruction (\d+)/.exec(error.message)?.[1];
  const scope = index === undefined ? undefined : program.instructions[Number(index)]?.scope;
  return new FulltuneError(error.code, error.message, {
    where: `program '${program.name}' on ${context.device.description}${scope === undefined || scope === '' ? '' : `, ${scope}`}`,
    ...(error.cause === undefined ? {} : { cause: error.cause }),
  });
}
