/** events.jsonl: the RunEvents of a run, one JSON object per line, in order. A last line torn by a kill counts as not written. */

import { closeSync, createReadStream, fstatSync, fsyncSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';

import { KIB } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import type { RunEvent } from '../run/events.ts';
import { writeFully } from './durable.ts';
import { fileError, systemCode } from './fs-errors.ts';

export const EVENTS_FILE = 'events.jsonl';

const KINDS = { progress: true, start: true, step: true, eval: true, checkpoint: true, health: true, warning: true, end: true } satisfies Record<RunEvent['kind'], true>;

/** Adds a line; what tells of something on disk (checkpoint, end) is synced. Throws E_DISK, E_FILE. */
export function appendEvent(directory: string, event: RunEvent): void {
  const path = join(directory, EVENTS_FILE);
  try {
    const file = openSync(path, 'a+');
    try {
      dropTornLine(file);
      writeFully(file, Buffer.from(`${JSON.stringify(event)}\n`, 'utf8'));
      if (event.kind === 'checkpoint' || event.kind === 'end') fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    throw fileError(error, 'write', path);
  }
}

/** All events, oldest first; none when the file does not exist. Throws E_RUN with the line when one inside the file is damaged. */
export async function readEvents(directory: string): Promise<readonly RunEvent[]> {
  const events: RunEvent[] = [];
  for await (const { event } of eventLines(join(directory, EVENTS_FILE))) events.push(event);
  return events;
}

/**
 * Cuts the file before the first event of a step after `step`, and a torn last line. A run that goes on from `step` then repeats no step:
 * events are in order, so all that follows belongs to what is trained again.
 */
export async function truncateEventsAfter(directory: string, step: number): Promise<void> {
  const path = join(directory, EVENTS_FILE);
  let keptBytes = 0;
  for await (const { event, endByte } of eventLines(path)) {
    if (stepOf(event) > step) break;
    keptBytes = endByte;
  }
  try {
    const file = openSync(path, 'r+');
    try {
      ftruncateSync(file, keptBytes);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw fileError(error, 'write', path);
  }
}

/** The step up to which an event tells; 0 for one that belongs to no step. */
function stepOf(event: RunEvent): number {
  switch (event.kind) {
    case 'step':
    case 'eval':
    case 'checkpoint':
    case 'health':
    case 'end':
      return event.step;
    case 'start':
      return event.startStep;
    case 'progress':
    case 'warning':
      return 0;
    default:
      return event satisfies never;
  }
}

/** Complete lines only. `endByte` is the position after the line. */
async function* eventLines(path: string): AsyncGenerator<{ readonly event: RunEvent; readonly endByte: number }> {
  let rest: Buffer = Buffer.alloc(0);
  let endByte = 0;
  let line = 0;
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 256 * KIB }) as AsyncIterable<Buffer>) {
      rest = Buffer.concat([rest, chunk]);
      let start = 0;
      for (let newline = rest.indexOf(10); newline !== -1; newline = rest.indexOf(10, start)) {
        line++;
        endByte += newline + 1 - start;
        yield { event: parseEvent(rest.toString('utf8', start, newline), path, line), endByte };
        start = newline + 1;
      }
      rest = rest.subarray(start);
    }
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw fileError(error, 'read', path);
  }
}

function parseEvent(text: string, path: string, line: number): RunEvent {
  try {
    const json: unknown = JSON.parse(text);
    if (typeof json === 'object' && json !== null && 'kind' in json && typeof json.kind === 'string' && Object.hasOwn(KINDS, json.kind)) {
      return json as RunEvent;
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new FulltuneError('E_RUN', `line ${line} of '${path}' is not an event: ${text.slice(0, 80)}`, {
    where: `${path}:${line}`, remedy: 'Remove that line, or the file: it is a record only, and training does not read it.',
  });
}

/** Cuts off what follows the last newline. */
function dropTornLine(file: number): void {
  const size = fstatSync(file).size;
  const buffer = Buffer.alloc(64 * KIB);
  for (let end = size; end > 0;) {
    const start = end === size ? end - 1 : Math.max(0, end - buffer.byteLength); // one byte is enough when the file is whole
    const count = readSync(file, buffer, 0, end - start, start);
    const newline = buffer.subarray(0, count).lastIndexOf(10);
    if (newline !== -1) {
      if (start + newline + 1 < size) ftruncateSync(file, start + newline + 1);
      return;
    }
    end = start;
  }
  if (size > 0) ftruncateSync(file, 0);
}
