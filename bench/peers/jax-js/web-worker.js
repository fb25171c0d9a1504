/**
 * Browsers have `Worker`, and jax-js uses several threads only where it finds one. This gives Node as much of it as jax-js uses, over
 * node:worker_threads, before jax-js is loaded.
 */

import { resolveObjectURL } from 'node:buffer';
import { Worker } from 'node:worker_threads';

const PRELUDE = `
const { parentPort } = require('node:worker_threads');
globalThis.self = globalThis;
globalThis.postMessage = (message) => parentPort.postMessage(message);
parentPort.on('message', (data) => self.onmessage({ data }));
`;

class WebWorker {
  onmessage = () => undefined;
  onerror = () => undefined;
  /** @type {Promise<Worker>} */
  #started;

  /** @param {string} url of a Blob */
  constructor(url) {
    this.#started = this.#start(url);
  }

  async #start(url) {
    const blob = resolveObjectURL(url);
    if (blob === undefined) throw new Error(`${url} is no Blob`);
    const worker = new Worker(PRELUDE + (await blob.text()), { eval: true });
    worker.on('message', (data) => this.onmessage({ data }));
    worker.on('error', (error) => this.onerror(error));
    worker.unref();
    return worker;
  }

  /** @param {unknown} message */
  postMessage(message) {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker of node:worker_threads has no origin
    this.#started.then((worker) => worker.postMessage(message), (error) => this.onerror(error));
  }
}

/** @param {number} threads */
export function provideWorkers(threads) {
  globalThis.Worker = /** @type {any} */ (WebWorker);
  Object.defineProperty(globalThis, 'navigator', { value: { hardwareConcurrency: threads }, configurable: true });
}
