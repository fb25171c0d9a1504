import { existsSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { tokenCache } from './token-cache.ts';

const base = mkdtempSync(join(tmpdir(), 'fulltune-test-'));
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(base, { recursive: true, force: true });
});

describe('tokenCache', () => {
  it('keeps what was made within a month', () => {
    vi.stubEnv('FULLTUNE_CACHE', base);
    const folder = tokenCache();
    expect(folder.startsWith(base)).toBe(true);
    const [old, young] = [join(folder, 'old.bin'), join(folder, 'young.bin')];
    for (const path of [old, young]) writeFileSync(path, 'x');
    const now = Date.now() / 1000;
    utimesSync(old, now, now - 40 * 24 * 3600);
    utimesSync(young, now, now - 20 * 24 * 3600);
    expect(tokenCache()).toBe(folder);
    expect([existsSync(old), existsSync(young)]).toEqual([false, true]);
  });

  it('gives a temporary folder where the cache cannot be written', () => {
    writeFileSync(`${base}-file`, '');
    vi.stubEnv('FULLTUNE_CACHE', `${base}-file`);
    const folder = tokenCache();
    expect(folder.startsWith(tmpdir())).toBe(true);
    rmSync(folder, { recursive: true });
    rmSync(`${base}-file`);
  });
});
