import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RunEvent } from '../run/events.ts';
import { launchWorker, type LaunchOptions } from './launch.ts';

let folder = '';
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'fulltune-launch-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A worker of a few lines in place of Python; `say(event)` and `sign(phase)` are what the real one does. */
function launch(body: string, options: Partial<LaunchOptions> = {}): { readonly events: RunEvent[]; readonly end: ReturnType<typeof launchWorker> } {
  const script = join(folder, 'worker.mjs');
  const [eventsPath, controlFolder] = [join(folder, 'events.jsonl'), join(folder, 'control')];
  writeFileSync(script, `
    import { appendFileSync, existsSync, writeFileSync } from 'node:fs';
    import { hostname } from 'node:os';
    const say = (event) => appendFileSync(${JSON.stringify(eventsPath)}, JSON.stringify(event) + '\\n');
    const sign = (phase, more = {}) => writeFileSync(${JSON.stringify(controlFolder)} + '/rank-0.json', JSON.stringify({ rank: 0, pid: process.pid, host: hostname(), phase, step: 1, ...more }));
    const asked = (name) => existsSync(${JSON.stringify(controlFolder)} + '/' + name);
    const until = async (condition) => { while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10)); };
    ${body}
  `);
  const events: RunEvent[] = [];
  const end = launchWorker({
    python: process.execPath, words: [script], threadsPerRank: 1, eventsPath, controlFolder, logPath: join(folder, 'log'), timeoutSeconds: 60,
    signal: new AbortController().signal, onEvent: (event) => events.push(event), wantsCheckpoint: () => false, ...options,
  });
  return { events, end };
}

describe('the launcher', () => {
  it('relays events in order, to the last one before the end', async () => {
    const { events, end } = launch(`for (const message of ['a', 'b', 'c']) say({ kind: 'warning', message });`);
    expect(await end).toMatchObject({ code: 0, signal: null, silentSeconds: undefined });
    expect(events).toEqual(['a', 'b', 'c'].map((message) => ({ kind: 'warning', message })));
  });

  it('asks for a stop and for checkpoints', async () => {
    const stop = new AbortController();
    let wanted = true;
    const events: RunEvent[] = [];
    const { end } = launch(`
      await until(() => asked('checkpoint')); say({ kind: 'warning', message: 'checkpoint' });
      await until(() => asked('stop')); process.exit(7);
    `, { signal: stop.signal, wantsCheckpoint: () => wanted && !(wanted = false), onEvent: (event) => {
      events.push(event);
      stop.abort();
    } });
    expect(await end).toMatchObject({ code: 7 });
    expect(events).toHaveLength(1);
  });

  it('ends a worker that gives no sign of life, and says for how long', async () => {
    const { end } = launch(`sign('training'); setInterval(() => {}, 1000);`, { timeoutSeconds: 1 });
    const { silentSeconds, signal, signs } = await end;
    expect([signal, signs[0]?.phase]).toEqual(['SIGKILL', 'training']);
    expect(silentSeconds).toBeGreaterThan(1);
  });

  it('gives back what a rank died of', async () => {
    const { end } = launch(`sign('failed', { failure: { kind: 'bug', message: 'x' } }); process.exit(1);`);
    expect((await end).signs[0]?.failure).toEqual({ kind: 'bug', message: 'x' });
  });

  it('refuses what is no event, and ends the worker', async () => {
    const { end } = launch(`say({ kind: 'step', step: 'one' }); setInterval(() => {}, 1000);`);
    await expect(end).rejects.toThrow('no event');
  });

  it('says that a Python cannot be started', async () => {
    await expect(launch('', { python: join(folder, 'none') }).end).rejects.toThrow('ENOENT');
  });
});
