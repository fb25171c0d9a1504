/** Starts the worker, relays its events as they come, passes requests on, and ends it when it hangs. One worker at a time. */

import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import type { RunEvent } from '../run/events.ts';
import { EventsFile } from './events-file.ts';
import { workerEnvironment } from './python.ts';
import { Signs, type RankSign } from './signs.ts';

export interface LaunchOptions {
  readonly python: string;
  /** After the Python command. */
  readonly words: readonly string[];
  readonly threadsPerRank: number;
  readonly eventsPath: string;
  readonly controlFolder: string;
  /** Standard output and error of all ranks. */
  readonly logPath: string;
  readonly timeoutSeconds: number;
  /** Asks the ranks to stop with a checkpoint. */
  readonly signal: AbortSignal;
  onEvent(event: RunEvent): void;
  /** Whether a checkpoint is wanted that nobody has asked the ranks for yet. */
  wantsCheckpoint(): boolean;
}

export interface WorkerEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly silentSeconds: number | undefined;
  readonly signs: readonly RankSign[];
}

const POLL_MS = 50;
/** What is not a step may take longer: importing torch, reading weights, writing checkpoints. */
const OTHER_PHASES = { factor: 3, leastSeconds: 300 };
/** After a rank has failed the others have so long to notice. */
const GRACE_MS = 10_000;

/** Resolves when all processes are gone, whatever became of them. */
export async function launchWorker(options: LaunchOptions): Promise<WorkerEnd> {
  const { signal, timeoutSeconds } = options;
  const signs = new Signs(options.controlFolder);
  writeFileSync(options.eventsPath, '');
  const events = new EventsFile(options.eventsPath);
  const started = Date.now();
  const child = start(options);
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, name) => resolve({ code, signal: name }));
  });
  // Pressing Ctrl-C twice ends this process at once, and with it the ranks.
  const onExit = (): void => killAll(child, signs.read());
  process.once('exit', onExit);
  let silentSeconds: number | undefined;
  let failedAt: number | undefined;
  let asked = false;
  const look = (): void => {
    for (const event of events.take()) options.onEvent(event);
    if (signal.aborted && !asked) signs.askToStop();
    asked = signal.aborted;
    if (options.wantsCheckpoint()) signs.askForCheckpoint();
    const now = signs.read();
    if (now.some(({ phase }) => phase === 'failed')) failedAt ??= Date.now();
    if (failedAt !== undefined && Date.now() - failedAt > GRACE_MS) return killAll(child, now);
    // A sign that lies in the past of this start is the start itself.
    const silent = (Date.now() - Math.max(started, ...now.map(({ at }) => at))) / 1000;
    const training = now.length > 0 && now.every(({ phase }) => phase === 'training');
    const limit = training ? timeoutSeconds : Math.max(timeoutSeconds * OTHER_PHASES.factor, OTHER_PHASES.leastSeconds);
    if (silent > limit && silentSeconds === undefined) {
      silentSeconds = silent;
      killAll(child, now);
    }
  };
  let broken: { readonly error: unknown } | undefined;
  const timer = setInterval(() => {
    try {
      look();
    } catch (error) {
      broken ??= { error };
      killAll(child, signs.read());
    }
  }, POLL_MS);
  try {
    const end = await ended;
    killAll(child, signs.read()); // whatever torchrun may have left
    if (broken !== undefined) throw broken.error;
    for (const event of events.take()) options.onEvent(event);
    return { ...end, silentSeconds, signs: signs.read() };
  } finally {
    clearInterval(timer);
    process.off('exit', onExit);
    events.close();
  }
}

/** In a session of its own, so that Ctrl-C in a terminal reaches only this process, which asks for a checkpoint. */
function start({ python, words, logPath, threadsPerRank }: LaunchOptions): ChildProcess {
  const log = openSync(logPath, 'a');
  try {
    const threads = String(Math.max(1, threadsPerRank));
    return spawn(python, words, { detached: true, stdio: ['ignore', log, log], env: { OMP_NUM_THREADS: threads, ...workerEnvironment() } });
  } finally {
    closeSync(log);
  }
}

/** The ranks have sessions of their own under torchrun: they are known by what they wrote. */
function killAll({ pid }: ChildProcess, signs: readonly RankSign[]): void {
  const ranks = signs.filter(({ host, phase }) => host === hostname() && phase !== 'ended').map((sign) => sign.pid);
  for (const target of [...(pid === undefined ? [] : [-pid]), ...ranks]) {
    try {
      process.kill(target, 'SIGKILL');
    } catch {
      // it is gone
    }
  }
}
