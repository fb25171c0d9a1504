/** Builds bench/limits.c for this machine and asks it. What it answers is kept: the best of all trials of a run is the limit. */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { startWorker } from './worker.js';

const source = fileURLToPath(new URL('../limits.c', import.meta.url));
const folder = fileURLToPath(new URL('../../build/bench/', import.meta.url));

/** The program's path, built if need be. Throws when fma_rounds touches the stack: its rate would be no limit. */
export function buildLimits() {
  const compiler = process.env['CC'] ?? 'cc';
  const key = createHash('sha256').update(readFileSync(source)).update(cpus()[0]?.model ?? '').update(compiler).digest('hex').slice(0, 12);
  const program = `${folder}limits-${key}`;
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  const fresh = `${program}.${process.pid}`;
  execFileSync(compiler, ['-O3', '-std=gnu11', '-march=native', '-fno-math-errno', '-Wall', '-Wextra', source, '-o', fresh, '-pthread'], { stdio: 'inherit' });
  checkRegistersOnly(fresh);
  renameSync(fresh, program);
  return program;
}

/** @param {string} program */
function checkRegistersOnly(program) {
  const text = execFileSync('objdump', ['-d', '--no-show-raw-insn', program], { encoding: 'utf8', maxBuffer: 1 << 28 });
  const body = /<_?fma_rounds>:\n([\s\S]*?)(?:\n\n|$)/.exec(text)?.[1];
  if (body === undefined) throw new Error(`${source}: fma_rounds is not in the disassembly, so its registers cannot be checked`);
  const touches = body.split('\n').filter((line) => /\(%[re]?[sb]p\)|\[sp|,%[re]?[sb]p,/.test(line));
  if (touches.length > 0) throw new Error(`${source}: fma_rounds keeps values on the stack, so its rate would be no limit:\n${touches.join('\n')}`);
}

/**
 * @typedef {object} Stream
 * @property {number} reads
 * @property {number} writes
 * @property {number} inPlace how many of the arrays that are written were read
 * @property {number} bytes of each array
 */

/** How often each limit is asked for at least. An answer is the best of 3 trials, so a limit is the best of 12. */
const LEAST_ANSWERS = 4;

export class Limits {
  #worker;
  /** @type {Map<string, number[]>} */
  #rates = new Map();

  /** @param {import('./worker.js').Worker} worker */
  constructor(worker) {
    this.#worker = worker;
  }

  static async start() {
    return new Limits(await startWorker([buildLimits()]));
  }

  get isa() {
    return String(this.#worker.greeting['isa']);
  }

  /**
   * One more trial of the multiply-add rate.
   * @param {number} threads
   */
  async measureFma(threads) {
    return this.#measure(`fma ${threads}`, 'flopsPerSecond');
  }

  /**
   * One more trial of a stream.
   * @param {Stream} stream
   * @param {number} threads
   */
  async measureStream(stream, threads) {
    return this.#measure(streamQuestion(stream, threads), 'bytesPerSecond');
  }

  /**
   * FLOPs per second: the best of all trials.
   * @param {number} threads
   */
  async fma(threads) {
    return this.#best(`fma ${threads}`, 'flopsPerSecond');
  }

  /**
   * Bytes read and written per second: the best of all trials.
   * @param {Stream} stream
   * @param {number} threads
   */
  async stream(stream, threads) {
    return this.#best(streamQuestion(stream, threads), 'bytesPerSecond');
  }

  /** @param {string} question @param {string} unit */
  async #measure(question, unit) {
    const rate = (await this.#worker.ask(question))[unit];
    this.#rates.set(question, [...(this.#rates.get(question) ?? []), rate]);
    return rate;
  }

  /** @param {string} question @param {string} unit */
  async #best(question, unit) {
    while ((this.#rates.get(question)?.length ?? 0) < LEAST_ANSWERS) await this.#measure(question, unit);
    return Math.max(...(this.#rates.get(question) ?? []));
  }

  stop() {
    return this.#worker.stop();
  }
}

/** @param {Stream} stream @param {number} threads */
function streamQuestion({ reads, writes, inPlace, bytes }, threads) {
  return `stream ${reads} ${writes} ${inPlace} ${bytes} ${threads}`;
}
