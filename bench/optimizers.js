/**
 * Time of each optimizer's update of one large matrix beside that of AdamW in f32: interleaved rounds, the best of each, by the wall clock and
 * by processor time (which holds better on a busy machine).
 *
 *     npm run build && node bench/optimizers.js [rows] [columns] [threads]        default 4096 x 4096, all threads
 */

import { createCpuDevice } from '../dist/devices/cpu/cpu-device.js';
import { byteCount, tensor } from '../dist/graph/shape.js';
import { bytesMoved, opOf } from '../dist/ops/index.js';

const ROUNDS = 9;
const shape = [Number(process.argv[2] ?? 4096), Number(process.argv[3] ?? 4096)];
const count = shape[0] * shape[1];
const device = createCpuDevice(process.argv[4] === undefined ? {} : { threads: Number(process.argv[4]) });
const one = tensor('f32', 1);
const full = tensor('f32', ...shape);
const codes = [tensor('u8', ...shape), tensor('f32', Math.ceil(count / 256))];
const scalars = [one, tensor('i32', 1), one];
const adam = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.1, first: 0, seed: 1 };
const lion = { beta1: 0.9, beta2: 0.99, weightDecay: 0.1, first: 0, seed: 1 };

const CASES = [
  { name: 'adamw', op: 'adamw', attrs: adam, inputs: [full, full, full, full, ...scalars] },
  { name: 'adamw_8bit', op: 'adamw_8bit', attrs: adam, inputs: [full, full, ...codes, ...codes, ...scalars] },
  { name: 'adafactor', op: 'adafactor', attrs: { beta1: 0, weightDecay: 0.1, factored: 1, seed: 1 }, inputs: [full, full, ...scalars, tensor('f32', shape[0]), tensor('f32', shape[1])] },
  { name: 'lion', op: 'lion', attrs: lion, inputs: [full, full, full, ...scalars] },
  { name: 'sgd', op: 'sgd', attrs: { momentum: 0.9, weightDecay: 0.1, first: 0, seed: 1 }, inputs: [full, full, ...scalars, full] },
].flatMap((one) => [one, { ...one, name: `${one.name}, bf16`, inputs: [tensor('bf16', ...shape), ...one.inputs.slice(1)] }]);

const runs = [];
for (const { name, op, attrs, inputs } of CASES) {
  let end = 0;
  const place = (bytes) => {
    const offset = end;
    end += Math.ceil(bytes / 64) * 64;
    return offset;
  };
  const operands = inputs.map((type) => ({ ...type, offset: place(byteCount(type)) }));
  const must = opOf(op).mustOverwrite(attrs);
  const types = opOf(op).infer(inputs, attrs);
  const outputs = types.map(({ dtype, shape: sizes }, index) => {
    const over = must.find(({ output }) => output === index);
    return { dtype, shape: sizes, offset: over === undefined ? place(byteCount({ dtype, shape: sizes })) : operands[over.input].offset };
  });
  const bytes = device.workspaceBytes(op, inputs, types, attrs);
  const workspace = { offset: place(bytes), bytes };
  const arena = await device.allocate(end);
  const noise = new Float32Array(1 << 20);
  for (let i = 0; i < noise.length; i++) noise[i] = Math.sin(i * 12.9898) * Math.exp(4 * Math.sin(i * 0.37));
  for (let from = 0; from < count; from += noise.length) {
    const part = noise.subarray(0, Math.min(noise.length, count - from));
    arena.write(operands[1].offset + 4 * from, new Uint8Array(part.buffer, 0, part.byteLength));
  }
  const scalar = (value, Type) => new Uint8Array(Type.of(value).buffer);
  inputs.forEach((type, index) => {
    if (type.shape.length !== 1 || type.shape[0] !== 1) return;
    arena.write(operands[index].offset, type.dtype === 'i32' ? scalar(10, Int32Array) : scalar(inputs[index - 1]?.dtype === 'i32' ? 1 : 1e-4, Float32Array));
  });
  const program = {
    name, instructions: [{ op, inputs: operands, outputs, attrs, workspace, phase: 'update', scope: '' }], arenaBytes: end, inputs: {}, outputs: {}, commitIndex: 0,
  };
  runs.push({ name, loaded: arena.load(program), wall: Infinity, cpu: Infinity, moved: bytesMoved(op, inputs, types, attrs), workspace: bytes });
}
for (let round = -1; round < ROUNDS; round++) {
  for (const run of runs) {
    const before = process.cpuUsage();
    const { milliseconds } = await run.loaded.run();
    const { user, system } = process.cpuUsage(before);
    if (round < 0) continue;
    run.wall = Math.min(run.wall, milliseconds);
    run.cpu = Math.min(run.cpu, (user + system) / 1000);
  }
}
console.log(`${shape.join(' x ')}, ${device.description}`);
for (const { name, wall, cpu, moved, workspace } of runs) {
  const ratio = (of) => `${(of === 'wall' ? wall / runs[0].wall : cpu / runs[0].cpu).toFixed(2)} x adamw`;
  console.log(`${name.padEnd(18)} wall ${wall.toFixed(2).padStart(7)} ms, ${ratio('wall')}  cpu ${((cpu * 1e6) / count).toFixed(2)} ns/element, ${ratio('cpu')}  ` +
    `${(moved / wall / 1e6).toFixed(1)} GB/s  workspace ${(workspace / 1e6).toFixed(2)} MB`);
}
