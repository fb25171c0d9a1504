/**
 * Finds the native module: the prebuilt package of this platform if it is installed, else the build of this checkout, else the
 * user's cache, where it is compiled on first use.
 */

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, sep } from 'node:path';
import { env } from '../../base/debug.ts';
import { FulltuneError } from '../../base/errors.ts';
import { compileNative, nativeHash, packageRoot } from './compile-native.ts';
import type { NativeModule } from './native.ts';

const require = createRequire(import.meta.url);
let loaded: NativeModule | undefined;

/** The native module, loaded once per process. Throws E_DEVICE when it cannot be had. */
export function loadNative(): NativeModule {
  loaded ??= load(nativeFile());
  return loaded;
}

function load(file: string): NativeModule {
  try {
    return require(file) as NativeModule;
  } catch (cause) {
    throw new FulltuneError('E_DEVICE', `the native module does not load: ${cause instanceof Error ? cause.message : String(cause)}`, {
      where: file,
      remedy: 'Delete that file, so that it is built again for this machine.',
      cause,
    });
  }
}

/** The native module's file, compiled if need be. */
export function nativeFile(): string {
  if (env.nativeModule !== undefined) return env.nativeModule;
  if (!['linux', 'darwin'].includes(process.platform) || !['x64', 'arm64'].includes(process.arch)) {
    throw new FulltuneError('E_DEVICE', `there are no kernels for ${process.platform} on ${process.arch}`, {
      remedy: 'Use Linux or macOS on x64 or arm64 (on Windows: inside WSL).',
    });
  }
  return prebuilt() ?? checkoutBuild() ?? cachedBuild();
}

/** `@fulltune/native-linux-x64` and so on, if installed. */
function prebuilt(): string | undefined {
  try {
    return require.resolve(`@fulltune/native-${process.platform}-${process.arch}`);
  } catch {
    return undefined; // not installed
  }
}

/** `build/fulltune.node`, brought up to date; undefined in an installed package, whose folder is not ours to write to. */
function checkoutBuild(): string | undefined {
  if (packageRoot.includes(`${sep}node_modules${sep}`) || !existsSync(join(packageRoot, 'tsconfig.build.json'))) return undefined;
  return build(join(packageRoot, 'build'));
}

function cachedBuild(): string {
  return build(join(env.cacheFolder, 'fulltune', `native-${nativeHash().slice(0, 16)}`));
}

function build(folder: string): string {
  const stamp = join(folder, 'fulltune.hash');
  const file = join(folder, 'fulltune.node');
  if (existsSync(file) && existsSync(stamp) && readFileSync(stamp, 'utf8') === nativeHash()) return file;
  process.stderr.write(`fulltune: compiling the kernels for this machine, once, into ${folder}\n`);
  return compileNative({ folder }).file;
}
