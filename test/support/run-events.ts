/** A run followed to its end. */

import type { RunEvent, TrainingRun } from '../../src/index.ts';

export async function collectEvents(run: TrainingRun, onEvent: (event: RunEvent) => void = () => undefined): Promise<readonly RunEvent[]> {
  const seen: RunEvent[] = [];
  for await (const event of run) {
    seen.push(event);
    onEvent(event);
  }
  return seen;
}
