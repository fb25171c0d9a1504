/** Reads the events that a worker writes, line by line as they come, each checked before anyone sees it. */

import { closeSync, openSync, readSync } from 'node:fs';
import { z } from 'zod';
import { FulltuneError } from '../base/errors.ts';
import type { RunEvent } from '../run/events.ts';

const step = z.int().min(0);
const number = z.number();

/** What readers rely on; further keys pass. */
const workerEvent = z.discriminatedUnion('kind', [
  z.looseObject({ kind: z.literal('start'), startStep: step, totalSteps: step, device: z.string(), runDirectory: z.string() }),
  z.looseObject({
    kind: z.literal('step'), step, epoch: number, loss: number, gradientNorm: number.nullable(), learningRate: number, tokens: number, trainedTokens: number,
    stepMs: number, tokensPerSecond: number, mfu: number, residentBytes: number, etaSeconds: number,
  }),
  z.looseObject({ kind: z.literal('eval'), step, loss: number.nullable(), perplexity: number.nullable(), tokens: number, evalMs: number }),
  z.looseObject({ kind: z.literal('checkpoint'), step, path: z.string(), bytes: number, saveMs: number }),
  z.looseObject({ kind: z.literal('warning'), message: z.string() }),
  z.looseObject({
    kind: z.literal('end'), reason: z.enum(['finished', 'interrupted', 'memory-pressure']), step, modelPath: z.string().nullable(), modelStep: step.nullable(),
    plannedBytes: number.nullable(), peakResidentBytes: number, predictedStepMs: number.nullable(), measuredStepMs: number.nullable(), seconds: number,
  }),
]);

/** Throws E_RANK for a line that is no event of a worker. */
export function parseWorkerEvent(text: string): RunEvent {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  const parsed = workerEvent.safeParse(json);
  if (parsed.success) return parsed.data as unknown as RunEvent;
  const [issue] = parsed.error.issues;
  throw new FulltuneError('E_RANK', `the worker wrote something that is no event: ${text.slice(0, 120)} (${issue?.path.join('.')}: ${issue?.message})`, {
    remedy: 'Is the worker of this fulltune used? PYTHONPATH may name another one.',
  });
}

export class EventsFile {
  private readonly descriptor: number;
  private rest = Buffer.alloc(0);

  /** The file must exist; reading begins at its start. */
  constructor(path: string) {
    this.descriptor = openSync(path, 'r');
  }

  /** The events whose lines have been completed since the last call. */
  take(): readonly RunEvent[] {
    const chunk = Buffer.alloc(64 * 1024);
    for (let count = readSync(this.descriptor, chunk); count > 0; count = readSync(this.descriptor, chunk)) {
      this.rest = Buffer.concat([this.rest, chunk.subarray(0, count)]);
    }
    const end = this.rest.lastIndexOf(10);
    if (end === -1) return [];
    const lines = this.rest.toString('utf8', 0, end).split('\n');
    this.rest = this.rest.subarray(end + 1);
    return lines.filter((line) => line !== '').map(parseWorkerEvent);
  }

  close(): void {
    closeSync(this.descriptor);
  }
}
