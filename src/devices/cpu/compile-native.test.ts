/** When the kernels are compiled, and what is said when they cannot be. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { compileNative, nativeHash, packageRoot } from './compile-native.ts';
import { nativeFile } from './loader.ts';

let folder = '';
let compiler: string | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fulltune-native-'));
  compiler = process.env['CC'];
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
  if (compiler === undefined) delete process.env['CC'];
  else process.env['CC'] = compiler;
});

it('does nothing when nothing changed', () => {
  nativeFile();
  const before = performance.now();
  expect(compileNative({ folder: join(packageRoot, 'build') })).toEqual({ file: join(packageRoot, 'build', 'fulltune.node'), compiled: false });
  expect(performance.now() - before).toBeLessThan(1000);
});

it('depends on the sources, the flags and the compiler', () => {
  const plain = nativeHash();
  expect(nativeHash()).toBe(plain);
  expect(nativeHash(true)).not.toBe(plain);
  process.env['CC'] = 'another-cc';
  expect(nativeHash()).not.toBe(plain);
});

it('says that there is no compiler', () => {
  process.env['CC'] = '/no/such/cc';
  expect(() => compileNative({ folder })).toThrow(expect.objectContaining({ code: 'E_DEVICE', message: expect.stringContaining("'/no/such/cc'") as unknown, remedy: expect.stringContaining('apt install gcc') as unknown }));
  // and leaves no lock behind
  expect(() => compileNative({ folder })).toThrow('no C compiler');
});

it('shows what the compiler says', () => {
  const script = join(folder, 'cc');
  writeFileSync(script, '#!/bin/sh\necho "internal compiler nonsense" >&2\nexit 4\n', { mode: 0o755 });
  process.env['CC'] = script;
  expect(() => compileNative({ folder })).toThrow('internal compiler nonsense');
});

it('takes over the lock of a process that died', () => {
  writeFileSync(join(folder, 'lock'), '999999999');
  process.env['CC'] = '/no/such/cc';
  expect(() => compileNative({ folder })).toThrow('no C compiler');
});

it('says when there is no place to write', () => {
  writeFileSync(join(folder, 'file'), '');
  expect(() => compileNative({ folder: join(folder, 'file', 'below') })).toThrow(expect.objectContaining({ code: 'E_DEVICE', remedy: expect.stringContaining('FULLTUNE_CACHE') as unknown }));
});
