/** The worker's side of support/worker.js, for workers that are Node programs. */

import { existsSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

/**
 * Says that it is ready, then answers questions until its input ends.
 * @param {object} greeting
 * @param {(question: any) => Promise<object>} answer
 */
export async function answerQuestions(greeting, answer) {
  console.log(JSON.stringify({ ready: true, ...greeting }));
  for await (const line of createInterface({ input: process.stdin })) {
    let reply;
    try {
      reply = await answer(JSON.parse(line));
    } catch (error) {
      reply = { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
    }
    console.log(JSON.stringify(reply));
  }
}

/** The most that this process has held so far, as the system counts it; undefined where it does not say. */
export function highWaterBytes() {
  if (!existsSync('/proc/self/status')) return undefined;
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}
