/** Ctrl-C and SIGTERM: the first asks the work to stop, the second ends the process at once with 130. */

export const INTERRUPTED = 130;

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

export interface InterruptOptions {
  /** Told at the first signal. */
  readonly onFirst: () => void;
  /** Told at the second, just before the process ends. */
  readonly onSecond?: () => void;
  /** Ends the process; tests put something else here. */
  readonly exit?: (code: number) => void;
}

/** Runs `work` with a signal that aborts at the first interruption. Listeners are gone when it has ended. */
export async function withInterrupt<T>(work: (signal: AbortSignal) => Promise<T>, { onFirst, onSecond, exit = (code) => process.exit(code) }: InterruptOptions): Promise<T> {
  const controller = new AbortController();
  const listener = (): void => {
    if (controller.signal.aborted) {
      onSecond?.();
      return exit(INTERRUPTED);
    }
    onFirst();
    controller.abort();
  };
  for (const name of SIGNALS) process.on(name, listener);
  try {
    return await work(controller.signal);
  } finally {
    for (const name of SIGNALS) process.off(name, listener);
  }
}

/** Whether `error` is what aborting `signal` threw. */
export function isInterruption(error: unknown, signal: AbortSignal): boolean {
  return signal.aborted && (error === signal.reason || (error instanceof Error && error.name === 'AbortError'));
}
