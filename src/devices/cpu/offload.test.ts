/** The cpu's file beside the arena: how it is made and goes, and what becomes of transfers when a run is cancelled or the disk fails. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, expect, it } from 'vitest';
import { byteCount, tensor } from '../../graph/shape.ts';
import type { Arena } from '../device.ts';
import type { Instruction } from '../program.ts';
import { sameBytes } from '../testing/conformance.ts';
import { layOut, programOf, transfers, type Moved } from '../testing/file-conformance.ts';
import { createCpuDevice } from './cpu-device.ts';

const folder = mkdtempSync(join(tmpdir(), 'fulltune-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const device = createCpuDevice({ threads: 2 });

/** An arena with `count` values of `elements` f32, in arena and file. */
async function arenaOf(count: number, elements: number): Promise<{ readonly arena: Arena; readonly values: readonly Moved[]; readonly arenaBytes: number }> {
  const { moved, arenaBytes, fileBytes } = layOut(Array.from({ length: count }, () => tensor('f32', elements)));
  const arena = await device.allocate(arenaBytes);
  arena.attachFile({ directory: folder, bytes: fileBytes });
  return { arena, values: moved.map(({ first }) => first), arenaBytes };
}

/** Files of this process in `folder`, with or without a name. */
const openFiles = (): number => readdirSync('/proc/self/fd').filter((fd) => {
  try {
    return readlinkSync(join('/proc/self/fd', fd)).startsWith(folder);
  } catch {
    return false; // the list's own
  }
}).length;

it('has no name, and goes with the arena', async () => {
  const { arena } = await arenaOf(1, 1 << 20);
  expect(readdirSync(folder)).toEqual([]);
  expect(openFiles()).toBe(1);
  arena.free();
  expect(openFiles()).toBe(0);
});

it('is sparse up to what a file may have, and refused where it cannot be', async () => {
  const arena = await device.allocate(64);
  expect(() => arena.attachFile({ directory: join(folder, 'nowhere'), bytes: 10 })).toThrow(expect.objectContaining({
    code: 'E_FILE', message: 'cannot create the offload file: No such file or directory', where: join(folder, 'nowhere'), remedy: expect.stringContaining('--output-dir') as unknown,
  }));
  expect(() => arena.attachFile({ directory: folder, bytes: 2 ** 52 })).toThrow(expect.objectContaining({ code: 'E_FILE' }));
  expect(arena.fileBytes).toBe(0);
  expect(readdirSync(folder)).toEqual([]);
  arena.attachFile({ directory: folder, bytes: 2 ** 42 });
  arena.writeFile(2 ** 42 - 2, Uint8Array.of(7, 8));
  expect([...arena.readFile(2 ** 42 - 3, 3)]).toEqual([0, 7, 8]);
  arena.free();
});

it('takes more transfers than its queue holds', async () => {
  const { arena, values, arenaBytes } = await arenaOf(300, 1000);
  values.forEach(({ buffer }, index) => arena.fill(buffer.offset, byteCount(buffer), index & 255));
  await arena.load(programOf(values.map(transfers.write), arenaBytes)).run();
  arena.fill(0, arenaBytes, 0xff);
  await arena.load(programOf([...values.map(transfers.read), ...values.map(transfers.wait)], arenaBytes)).run();
  expect(values.every(({ buffer }, index) => arena.read(buffer.offset, byteCount(buffer)).every((byte) => byte === (index & 255)))).toBe(true);
  arena.free();
});

it('leaves the arena alone after a run that was cancelled', async () => {
  const { arena, values, arenaBytes } = await arenaOf(40, 1 << 20);
  const reads = values.map(transfers.read);
  const controller = new AbortController();
  const running = arena.load(programOf([...reads, ...reads, ...reads], arenaBytes)).run({ signal: controller.signal });
  await sleep(5);
  controller.abort();
  await running;
  arena.fill(0, arenaBytes, 0x55);
  await sleep(100);
  const wanted = new Uint8Array(4 << 20).fill(0x55);
  expect(values.every(({ buffer }) => sameBytes(arena.read(buffer.offset, byteCount(buffer)), wanted))).toBe(true);
  arena.free();
});

it('ends a run whose transfer fails before anything is changed', async () => {
  const { arena, values, arenaBytes } = await arenaOf(8, 1 << 18);
  const add = ({ buffer }: Moved): Instruction => ({ op: 'add', inputs: [buffer, buffer], outputs: [buffer], attrs: {}, workspace: { offset: 0, bytes: 0 }, phase: 'update', scope: 'test' });
  const [first, second, ...rest] = values;
  if (first === undefined || second === undefined) throw new RangeError('no values');
  arena.fill(second.buffer.offset, byteCount(second.buffer), 1);
  const before = arena.read(second.buffer.offset, byteCount(second.buffer));
  const program = arena.load(programOf([transfers.write(first), ...rest.map(transfers.write), add(second)], arenaBytes, 1 + rest.length));
  const limit = (size: string): void => void execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${size}`]);
  limit('524288:');
  try {
    await expect(program.run()).rejects.toMatchObject({
      code: 'E_FILE', where: folder, message: 'cannot write 1048576 bytes at byte 3 of the offload file, 524285 of them are done: File too large',
    });
  } finally {
    limit('unlimited:');
  }
  expect(sameBytes(arena.read(second.buffer.offset, byteCount(second.buffer)), before)).toBe(true);
  // and the arena is spoilt: its file is not what the run thinks it is
  await expect(program.run()).rejects.toMatchObject({ code: 'E_FILE' });
  arena.free();
});

it('refuses places outside the file and an arena without one, naming the instruction', async () => {
  const { arena, values, arenaBytes } = await arenaOf(1, 16);
  const [value] = values;
  if (value === undefined) throw new RangeError('no value');
  expect(() => arena.load(programOf([transfers.write({ ...value, at: 4 })], arenaBytes))).toThrow(/instruction 0 \(offload_write\): bytes 4 … 68 lie outside the file of 67/);
  const bare = await device.allocate(arenaBytes);
  expect(() => bare.load(programOf([transfers.read(value)], arenaBytes))).toThrow(/instruction 0 \(offload_read\): it moves a value to or from a file, and the arena has none/);
  bare.free();
  arena.free();
});
