/**
 * The events of one run as an async iterable. Each reader sees every event from the first on; a slow one never slows training, and
 * leaving the loop only detaches the reader.
 */

import type { RunEvent } from '../run/events.ts';

export class EventStream implements AsyncIterable<RunEvent> {
  private readonly events: RunEvent[] = [];
  private closed = false;
  private failure: { readonly error: unknown } | undefined;
  private waiting: (() => void)[] = [];

  push(event: RunEvent): void {
    this.events.push(event);
    this.wake();
  }

  /** Ends the stream; with `failure`, readers throw it after the last event. */
  close(failure?: { readonly error: unknown }): void {
    this.closed = true;
    this.failure = failure;
    this.wake();
  }

  private wake(): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<RunEvent, void, void> {
    for (let index = 0; ; ) {
      const event = this.events[index];
      if (event !== undefined) {
        index++;
        yield event;
      } else if (this.closed) {
        if (this.failure !== undefined) throw this.failure.error;
        return;
      } else await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
  }
}
