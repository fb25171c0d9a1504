/**
 * Times single ops on the cpu: each as a program of one node, over an arena, as the conformance tests run them. `node op.js DIST THREADS`;
 * a question is { op, inputs, attrs, overwrites, repeats }, the answer { ms } of one run by the device's own timing.
 */

import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { answerQuestions } from '../support/answers.js';

const [dist, threads] = process.argv.slice(2);
const load = (/** @type {string} */ path) => import(pathToFileURL(join(dist, path)).href);
const { createCpuDevice } = await load('devices/cpu/cpu-device.js');
const { compileProbe } = await load('compile/compile-probe.js');
const { GraphBuilder } = await load('graph/builder.js');
const { encodeElements } = await load('graph/dtype.js');
const { byteCount, elementCount } = await load('graph/shape.js');
const { opOf, shapeRules } = await load('ops/index.js');

/** Elements of a piece of noise. */
const PIECE = 1 << 20;
const device = createCpuDevice({ threads: Number(threads) });
let arena = await device.allocate(1 << 21);
/** @type {Map<string, Uint8Array>} */
const noise = new Map();

await answerQuestions({ device: device.description }, async ({ op, inputs, attrs, overwrites = [], repeats }) => {
  const program = probe({ op, inputs, attrs, overwrites: [...(opOf(op).mustOverwrite?.(attrs) ?? []), ...overwrites] });
  if (program.arenaBytes > arena.bytes) {
    arena.free();
    arena = await device.allocate(program.arenaBytes);
  }
  program.instructions[0].inputs.forEach((operand, index) => fill(operand, inputs[index]));
  // One after the other in one program, as in a step: the threads are awake. The first is left out, and so is a whole run before it: after a pause,
  // as others' threads need one to calm down, processors take milliseconds to get up to speed.
  const instructions = Array.from({ length: repeats + 1 }, () => program.instructions[0]);
  const loaded = arena.load({ ...program, instructions });
  await loaded.run();
  await loaded.run();
  return { ms: loaded.timings().subarray(1).reduce((sum, ms) => sum + ms, 0) / repeats };
});

function probe({ op, inputs, attrs, overwrites }) {
  const builder = new GraphBuilder(shapeRules);
  const overwritten = new Set(overwrites.map(({ input }) => input));
  const ids = inputs.map((type, index) => (overwritten.has(index) ? builder.persistent(`p${index}`, 'optimizer-state', { dtype: type.dtype, shape: type.shape }) : builder.input(`x${index}`, type.dtype, ...type.shape)));
  const outputs = builder.node(op, ids, attrs, { overwrites });
  const kept = outputs.find((_, index) => !overwrites.some(({ output }) => output === index));
  if (kept !== undefined) builder.output('y', kept);
  return compileProbe(builder.finish(), device);
}

/** Numbers of the size that training has: in [-1, 1), or as the type says: positive, or all the same. */
function fill({ dtype, shape, offset }, { positive = false, value }) {
  if (dtype === 'u8') return arena.fill(offset, byteCount({ dtype, shape }), 130);
  if (dtype === 'i32' || value !== undefined) return arena.write(offset, encodeElements(dtype, new Float64Array(elementCount(shape)).fill(value ?? 0)));
  const key = `${dtype} ${positive}`;
  const piece = noise.get(key) ?? encodeElements(dtype, Float64Array.from({ length: PIECE }, (_, i) => {
    const wave = Math.sin(i * 12.9898) * 43758.5453;
    const unit = wave - Math.floor(wave);
    return positive ? 0.01 + unit : 2 * unit - 1;
  }));
  noise.set(key, piece);
  const bytes = byteCount({ dtype, shape });
  for (let at = 0; at < bytes; at += piece.length) arena.write(offset + at, piece.subarray(0, Math.min(piece.length, bytes - at)));
  return undefined;
}
