/** Looks about once a second whether others take the memory away, beside the run, and stops it in time for a checkpoint. */

import { MIB } from '../base/bytes.ts';
import { pressureGauge, type MemoryPressure } from './devices.ts';

const LOOK_MS = 1000;
/** The share of what is there that a run is told it may hold: the rest is for what others take next. */
const SUGGESTED_SHARE = 0.8;
const SUGGESTED_STEP = 64 * MIB;

type Pressure = MemoryPressure & { readonly kind: 'pressure' };

export interface MemoryWatch {
  /** Aborts at the first pressure. */
  readonly signal: AbortSignal;
  /** What was found; undefined while all is calm. */
  pressure(): Pressure | undefined;
  stop(): void;
}

export interface WatchOptions {
  /** What the run leaves free when nothing else changes. */
  readonly leftBytes: number;
  /** Told once, before the signal aborts. */
  readonly onPressure: (pressure: Pressure) => void;
  /** How it is looked; tests look elsewhere. */
  readonly look?: () => MemoryPressure;
  readonly lookMs?: number;
}

/** Begins to watch. The timer keeps no process alive. */
export function watchMemory({ leftBytes, onPressure, look = pressureGauge(leftBytes), lookMs = LOOK_MS }: WatchOptions): MemoryWatch {
  const controller = new AbortController();
  let found: Pressure | undefined;
  const timer = setInterval(() => lookOnce(), lookMs);
  timer.unref();
  const lookOnce = (): void => {
    const seen = look();
    if (seen.kind === 'calm') return;
    clearInterval(timer);
    found = seen;
    onPressure(seen);
    controller.abort();
  };
  lookOnce();
  return { signal: controller.signal, pressure: () => found, stop: () => clearInterval(timer) };
}

/** What a run may hold where this one holds `residentBytes` and `freeBytes` are left: a multiple of 64 MiB, null when there is not even one. */
export function suggestedMemoryBytes({ residentBytes, freeBytes }: { readonly residentBytes: number; readonly freeBytes: number }): number | null {
  const steps = Math.floor(((residentBytes + freeBytes) * SUGGESTED_SHARE) / SUGGESTED_STEP);
  return steps < 1 ? null : steps * SUGGESTED_STEP;
}
