/** What every device must do with the file of an arena, as programs of transfers over buffers full of garbage. */

import { tmpdir } from 'node:os';
import { alignUp } from '../../base/bytes.ts';
import { DTYPES, encodeElements } from '../../graph/dtype.ts';
import { byteCount, tensor, type TensorType } from '../../graph/shape.ts';
import { sameBytes } from './conformance.ts';
import type { Arena, Device } from '../device.ts';
import type { Instruction, Operand, Program } from '../program.ts';

const ALIGNMENT = 64;
/** Odd sizes, every element type, more bytes than a page. */
const TYPES: readonly TensorType[] = [tensor('f32', 1), tensor('u8', 13), tensor('bf16', 7, 19), tensor('i32', 3, 5, 7), tensor('f16', 2, 3, 5, 7), tensor('f32', 41, 257)];

/** Where a value lies in arena and file. */
export interface Moved {
  readonly buffer: Operand;
  readonly token: Operand;
  readonly at: number;
}

export const transfers = {
  read: ({ buffer, at }: Moved): Instruction => instruction('offload_read', [], [buffer], {
    at, dtype: DTYPES.indexOf(buffer.dtype), rank: buffer.shape.length, ...Object.fromEntries([0, 1, 2, 3].map((axis) => [`size${axis}`, buffer.shape[axis] ?? 1])),
  }),
  wait: ({ buffer }: Moved): Instruction => instruction('offload_wait', [buffer], [buffer], {}),
  write: ({ buffer, token, at }: Moved): Instruction => instruction('offload_write', [buffer], [token], { at }),
  flush: ({ buffer, token }: Moved): Instruction => instruction('offload_flush', [buffer, token], [token], {}),
} as const;

function instruction(op: string, inputs: readonly Operand[], outputs: readonly Operand[], attrs: Instruction['attrs']): Instruction {
  return { op, inputs, outputs, attrs, workspace: { offset: 0, bytes: 0 }, phase: 'update', scope: 'test' };
}

/** Two buffers, each with a token, for one value in the file, per type. */
export function layOut(types: readonly TensorType[]): { readonly moved: readonly { readonly first: Moved; readonly second: Moved }[]; readonly arenaBytes: number; readonly fileBytes: number } {
  let arenaBytes = ALIGNMENT;
  let fileBytes = 3; // files know no alignment
  const place = (type: TensorType): Operand => {
    const offset = arenaBytes;
    arenaBytes = alignUp(offset + byteCount(type), ALIGNMENT) + ALIGNMENT;
    return { ...type, offset };
  };
  const moved = types.map((type) => {
    const at = fileBytes;
    fileBytes += byteCount(type);
    const buffer = (): Moved => ({ buffer: place(type), token: place(tensor('i32', 1)), at });
    return { first: buffer(), second: buffer() };
  });
  return { moved, arenaBytes, fileBytes };
}

export function programOf(instructions: readonly Instruction[], arenaBytes: number, commitIndex = instructions.length): Program {
  return { name: 'transfers', instructions, arenaBytes, inputs: {}, outputs: {}, commitIndex };
}

/** Elements of one transfer that takes longer than an instruction does to begin. */
const MANY = 1 << 20;

/** What is read may be used right behind its wait, and what is written changed right behind its flush, while other transfers are waiting. */
async function checkOrder(device: Device, check: (holds: boolean, what: string) => void): Promise<void> {
  const { moved, arenaBytes, fileBytes } = layOut([tensor('f32', MANY), tensor('f32', MANY)]);
  const [one, other] = [moved[0]?.first, moved[1]?.first];
  if (one === undefined || other === undefined) throw new RangeError('two values were laid out');
  const arena = await device.allocate(arenaBytes);
  try {
    arena.attachFile({ directory: tmpdir(), bytes: fileBytes });
    const ones = encodeElements('f32', new Float32Array(MANY).fill(1));
    const twos = encodeElements('f32', new Float32Array(MANY).fill(2));
    const double = (from: Moved, to: Moved): Instruction => instruction('add', [from.buffer, from.buffer], [to.buffer], {});
    arena.writeFile(one.at, ones);
    arena.fill(0, arenaBytes, 0xff);
    await arena.load(programOf([transfers.read(one), transfers.wait(one), double(one, other)], arenaBytes)).run();
    check(sameBytes(twos, arena.read(other.buffer.offset, twos.length)), 'what was read is not there behind its wait');
    await arena.load(programOf([transfers.write(one), transfers.flush(one), double(one, one), transfers.write(other), transfers.flush(other), double(other, other)], arenaBytes)).run();
    check(sameBytes(ones, arena.readFile(one.at, ones.length)) && sameBytes(twos, arena.readFile(other.at, twos.length)), 'what was written is not in the file behind its flush');
  } finally {
    arena.free();
  }
}

/** Everything that is wrong with the files of `device`'s arenas; empty when nothing is. */
export async function fileFailures(device: Device): Promise<readonly string[]> {
  const failures: string[] = [];
  const check = (holds: boolean, what: string): void => {
    if (!holds) failures.push(what);
  };
  const { moved, arenaBytes, fileBytes } = layOut(TYPES);
  const firsts = moved.map(({ first }) => first);
  const seconds = moved.map(({ second }) => second);
  const bytesOf = (arena: Arena, { buffer }: Moved): Uint8Array => arena.read(buffer.offset, byteCount(buffer));
  const pattern = (length: number, seed: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8) + seed * 7) & 255);
  const arena = await device.allocate(arenaBytes);
  const run = async (instructions: readonly Instruction[]): Promise<void> => {
    const { completed } = await arena.load(programOf(instructions, arenaBytes)).run();
    check(completed, 'a program of transfers did not complete');
  };
  const throws = (body: () => void): boolean => {
    try {
      body();
    } catch {
      return true;
    }
    return false;
  };
  try {
    check(arena.fileBytes === 0 && throws(() => arena.readFile(0, 1)), 'an arena has a file before it was given one');
    check(throws(() => arena.load(programOf(firsts.map(transfers.read), arenaBytes))), 'a program that reads a file is loaded without one');
    arena.attachFile({ directory: tmpdir(), bytes: fileBytes });
    check(arena.fileBytes === fileBytes, `the file has ${arena.fileBytes} bytes and not ${fileBytes}`);
    check(throws(() => arena.attachFile({ directory: tmpdir(), bytes: fileBytes })), 'an arena takes a second file');
    check(sameBytes(new Uint8Array(fileBytes), arena.readFile(0, fileBytes)), 'a new file does not hold zeros');
    const beyond = layOut([tensor('u8', fileBytes)]).moved[0]?.first;
    check(beyond !== undefined && throws(() => arena.load(programOf([transfers.read({ ...beyond, at: 1 })], arenaBytes))), 'a program may read behind the end');
    check(throws(() => arena.readFile(fileBytes - 1, 2)) && throws(() => arena.writeFile(-1, new Uint8Array(1))), 'the host may read and write outside the file');

    arena.fill(0, arenaBytes, 0xff);
    await run(firsts.map(transfers.read));
    check(firsts.every((one) => bytesOf(arena, one).every((byte) => byte === 0)), 'a program ends before what it reads is there');

    arena.fill(0, arenaBytes, 0xff);
    firsts.forEach((one, index) => arena.write(one.buffer.offset, pattern(byteCount(one.buffer), index)));
    const before = arena.read(0, arenaBytes);
    // Each value is read back while its write may still be waiting.
    await run([...firsts.map(transfers.write), ...seconds.flatMap((one) => [transfers.read(one), transfers.wait(one)]), ...firsts.map(transfers.flush)]);
    moved.forEach(({ first, second }, index) => {
      const written = pattern(byteCount(first.buffer), index);
      check(sameBytes(written, bytesOf(arena, second)), `${first.buffer.dtype} ${index}: a read behind a write does not see its bytes`);
      check(sameBytes(written, arena.readFile(first.at, written.length)), `${first.buffer.dtype} ${index}: the file does not hold what was written`);
      check(arena.read(first.token.offset, 4).every((byte) => byte === 0), `${first.buffer.dtype} ${index}: the token is not 0`);
    });
    const after = arena.read(0, arenaBytes);
    for (const { buffer } of seconds) after.set(before.subarray(buffer.offset, buffer.offset + byteCount(buffer)), buffer.offset);
    for (const { token } of firsts) after.set(before.subarray(token.offset, token.offset + 4), token.offset);
    check(sameBytes(before, after), 'bytes were changed that belong to no output');

    await checkOrder(device, check);

    const last = fileBytes - 5;
    arena.writeFile(last, pattern(5, 99));
    check(sameBytes(pattern(5, 99), arena.readFile(last, 5)), 'the host does not read back what it wrote');
    check(sameBytes(pattern(byteCount(tensor('f32', 1)), 0), arena.readFile(3, 4)), 'the host changed bytes elsewhere');
  } finally {
    arena.free();
  }
  return failures;
}
