/** The null device: plans like the device it stands for, holds no memory and computes nothing. For dry runs and for planning elsewhere. */

import { dtypeBytes, type DType } from '../../graph/dtype.ts';
import { byteCount } from '../../graph/shape.ts';
import { opOf } from '../../ops/index.ts';
import type { Arena, Device, DeviceSpec, LoadedProgram } from '../device.ts';
import type { Program } from '../program.ts';

/** Scratch sizes, alignment and threads are those of `spec`, so that the plan is the one that device would run. */
export function createNullDevice(spec: DeviceSpec): Device {
  return {
    name: 'null',
    description: `null (plans for ${spec.name}, runs nothing)`,
    threads: spec.threads,
    alignment: spec.alignment,
    workspaceBytes: (op, inputs, outputs, attrs) => spec.workspaceBytes(op, inputs, outputs, attrs),
    allocate: (bytes) => Promise.resolve(nullArena(bytes)),
    measurePeak: () => Promise.resolve(0),
  };
}

function nullArena(bytes: number): Arena {
  const check = (offset: number, length: number): void => {
    if (offset < 0 || length < 0 || offset + length > bytes) throw new RangeError(`bytes ${offset} to ${offset + length} of an arena of ${bytes}`);
  };
  let fileBytes = 0;
  const checkFile = (at: number, length: number): void => {
    if (at < 0 || length < 0 || at + length > fileBytes) throw new RangeError(`bytes ${at} to ${at + length} of a file of ${fileBytes}`);
  };
  return {
    bytes,
    read(offset, length) {
      check(offset, length);
      return new Uint8Array(length);
    },
    write: (offset, data) => check(offset, data.byteLength),
    writeConverted: (offset, to, data, from) => check(offset, (data.byteLength / dtypeBytes(from)) * dtypeBytes(to)),
    readConverted(offset: number, from: DType, count: number, to: DType) {
      check(offset, count * dtypeBytes(from));
      return new Uint8Array(count * dtypeBytes(to));
    },
    fill: check,
    get fileBytes() {
      return fileBytes;
    },
    attachFile(file) {
      if (fileBytes > 0) throw new Error('the arena has a file already');
      fileBytes = file.bytes;
    },
    readFile(at, length) {
      checkFile(at, length);
      return new Uint8Array(length);
    },
    writeFile: (at, data) => checkFile(at, data.byteLength),
    load(program: Program): LoadedProgram {
      if (program.arenaBytes > bytes) throw new RangeError(`program '${program.name}' needs ${program.arenaBytes} bytes of an arena of ${bytes}`);
      for (const { op, inputs, outputs, attrs } of program.instructions) {
        const { file } = opOf(op);
        const moved = file === 'read' ? outputs[0] : file === 'write' ? inputs[0] : undefined;
        if (moved !== undefined) checkFile(attrs['at'] ?? NaN, byteCount(moved));
      }
      return {
        program,
        run: (options) => Promise.resolve({ completed: options?.signal?.aborted !== true, milliseconds: 0 }),
        timings: () => new Float64Array(program.instructions.length),
      };
    },
    free: () => undefined,
  };
}
