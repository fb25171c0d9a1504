/**
 * What is measured runs in processes of their own, so that peaks and threads are their own and several can take turns. Each reads questions from
 * its standard input, one a line, and answers each with one line of JSON; between questions it sleeps. Programs in any language can take part.
 */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/**
 * @typedef {object} Worker
 * @property {Record<string, any>} greeting its first line, sent when it is ready: { ready: true, … }
 * @property {(question: string | object) => Promise<any>} ask
 * @property {() => Promise<void>} stop
 */

/**
 * Starts one, in a process group of its own so that a signal to this one's leaves it to us; waits until it is ready. What it says on standard error is shown when it fails.
 * @param {readonly string[]} command program and arguments
 * @param {{ readonly env?: Record<string, string | undefined>, readonly cwd?: string }} [options] variables to set, or to remove (undefined)
 * @returns {Promise<Worker>}
 */
export async function startWorker([program, ...args], { env = {}, cwd } = {}) {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], detached: true, env: { ...process.env, ...env }, ...(cwd === undefined ? {} : { cwd }) });
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    complaints = (complaints + text).slice(-4000);
    if (process.env['BENCH_VERBOSE'] !== undefined) process.stderr.write(text);
  });
  child.stdin.on('error', () => undefined); // told by the end of its output
  const failed = new Promise((_resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => reject(new Error(`${[program, ...args].join(' ')} ended with ${code ?? signal}\n${complaints}`)));
  });
  failed.catch(() => undefined);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { greeting: await answer(), ask, stop };

  /** Lines that are no JSON objects are chatter of libraries. */
  async function answer() {
    for (;;) {
      const { value, done } = await Promise.race([lines.next(), failed]);
      if (done === true) return failed;
      if (!value.startsWith('{')) continue;
      const parsed = JSON.parse(value);
      if (parsed.error !== undefined) throw new Error(`${program}: ${parsed.error}`);
      return parsed;
    }
  }

  async function ask(question) {
    child.stdin.write(`${typeof question === 'string' ? question : JSON.stringify(question)}\n`);
    return answer();
  }

  async function stop() {
    const ended = new Promise((resolve) => child.once('close', resolve));
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.stdin.end();
    const late = setTimeout(() => child.kill('SIGKILL'), 2000);
    await ended;
    clearTimeout(late);
  }
}
