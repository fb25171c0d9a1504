import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../graph/builder.ts';
import { tensor } from '../graph/shape.ts';
import { OPS, shapeRules } from '../ops/index.ts';
import { linear } from '../ops/matmul.ts';
import { swiglu } from '../ops/swiglu.ts';
import { genericCalibration, parseCalibration, type Calibration } from './calibration.ts';
import { createCostModel, FULL_ROWS } from './cost-model.ts';

const base = genericCalibration({ threads: 2 });
const measured: Calibration = {
  ...base,
  products: [
    { op: 'matmul_nt', tokens: 128, inner: 512, outer: 512, flopsPerSecond: 100e9 },
    { op: 'matmul_nt', tokens: 2048, inner: 512, outer: 512, flopsPerSecond: 200e9 },
    ...base.products,
  ],
};

describe('the cost model', () => {
  const { nodeMs, graphMs } = createCostModel(measured, FULL_ROWS);

  it('has a time for every sample of every op', () => {
    for (const op of OPS.values()) {
      for (const { name, inputs, attrs } of op.samples) {
        const ms = nodeMs(op.name, inputs, op.infer(inputs, attrs), attrs);
        expect(Number.isFinite(ms) && ms > 0, `${op.name}, ${name}`).toBe(true);
      }
    }
  });

  it('takes the measured rate at a measured size, and one between them in between', () => {
    const rate = (tokens: number): number => {
      const ms = nodeMs('matmul_nt', [tensor('f32', 1, tokens, 512), tensor('f32', 512, 512)], [tensor('f32', 1, tokens, 512)], { bias: 0 });
      return (2 * tokens * 512 * 512) / ((ms - measured.instructionMs) / 1000);
    };
    expect(rate(128) / 100e9).toBeCloseTo(1, 1);
    expect(rate(2048) / 200e9).toBeCloseTo(1, 1);
    expect(rate(512)).toBeGreaterThan(rate(128));
    expect(rate(512)).toBeLessThan(rate(2048));
  });

  it('takes longer for more', () => {
    const swigluMs = (tokens: number): number => nodeMs('swiglu', [tensor('f32', 1, tokens, 1536), tensor('f32', 1, tokens, 1536)], [tensor('f32', 1, tokens, 1536)], {});
    expect(swigluMs(1024)).toBeGreaterThan(1.5 * swigluMs(512));
    const bf16 = nodeMs('swiglu', [tensor('bf16', 1, 512, 1536), tensor('bf16', 1, 512, 1536)], [tensor('bf16', 1, 512, 1536)], {});
    expect(bf16).toBeLessThan(swigluMs(512));
  });

  it('adds up the nodes of a graph', () => {
    const b = new GraphBuilder(shapeRules);
    const x = b.input('x', 'f32', 1, 512, 512);
    const y = linear(b, x, b.parameter('w', 'f32', 512, 512));
    b.output('y', swiglu(b, y, x));
    const graph = b.finish();
    const sum = graph.nodes.reduce((total, { op, inputs, outputs, attrs }) => total + nodeMs(op, inputs.map((id) => graph.values[id]!), outputs.map((id) => graph.values[id]!), attrs), 0);
    expect(graphMs(graph)).toBeCloseTo(sum, 9);
  });

  it('counts what a projection with loss does with its logits, and only those of tokens with loss', () => {
    const [tokens, width, vocabulary] = [512, 64, 4096];
    const rates = (bytesPerSecond: number): Calibration => ({ ...measured, bytesPerSecond: { ...measured.bytesPerSecond, cross_entropy: bytesPerSecond, cross_entropy_backward: bytesPerSecond } });
    const ms = (calibration: Calibration, op: string, lossShare = 1): number => {
      const { samples, infer } = OPS.get(op)!;
      const inputs = samples[0]!.inputs.map((type, index) => (index === 0 ? tensor('f32', 1, tokens, width) : index === 1 ? tensor('f32', vocabulary, width) : index === 2 ? tensor('i32', 1, tokens) : type));
      return createCostModel(calibration, { lossShare, attentionShare: 1 }).nodeMs(op, inputs, infer(inputs, samples[0]!.attrs), samples[0]!.attrs) - calibration.instructionMs;
    };
    const logits = 4 * tokens * vocabulary;
    for (const [op, passes] of [['linear_cross_entropy', 1], ['linear_cross_entropy_backward', 3]] as const) {
      expect(ms(rates(1e9), op) - ms(rates(2e9), op)).toBeCloseTo((1000 * passes * logits) / 2e9, 6);
      expect(ms(rates(1e9), op, 0.25)).toBeCloseTo(0.25 * ms(rates(1e9), op), 6);
    }
  });

  it('counts attention within documents only', () => {
    const q = tensor('f32', 1, 512, 128);
    const call = ['attention', [q, q, q, tensor('i32', 1, 512)], [q, tensor('f32', 1, 512, 2)], { heads: 2, keyValueHeads: 2, headWidth: 64, scale: 1 }] as const;
    const half = createCostModel(measured, { lossShare: 1, attentionShare: 0.5 }).nodeMs(...call);
    expect((half - measured.instructionMs) / (nodeMs(...call) - measured.instructionMs)).toBeCloseTo(0.5, 9);
  });
});

describe('attention', () => {
  it('goes by the rate of heads of its own width', () => {
    const rates = [[64, 100e9], [8, 25e9]].map(([headWidth, flopsPerSecond]) => ({ op: 'attention', length: 512, headWidth: headWidth!, flopsPerSecond: flopsPerSecond! }));
    const { nodeMs } = createCostModel({ ...measured, attention: rates }, FULL_ROWS);
    const rateOf = (headWidth: number): number => {
      const q = tensor('f32', 1, 512, 2 * headWidth);
      const attrs = { heads: 2, keyValueHeads: 2, headWidth, scale: 1 };
      const outputs = [q, tensor('f32', 1, 512, 2)];
      const inputs = [q, q, q, tensor('i32', 1, 512)];
      return OPS.get('attention')!.flops(inputs, outputs, attrs) / (nodeMs('attention', inputs, outputs, attrs) - measured.instructionMs) * 1000;
    };
    expect(rateOf(64) / 100e9).toBeCloseTo(1, 1);
    expect(rateOf(8) / 25e9).toBeCloseTo(1, 1);
    expect(rateOf(24)).toBeGreaterThan(30e9);
    expect(rateOf(24)).toBeLessThan(80e9);
  });
});

describe('a stored calibration', () => {
  it('comes back as it was, and is not taken when damaged', () => {
    expect(parseCalibration(JSON.parse(JSON.stringify(measured)))).toEqual(measured);
    for (const damaged of [null, 3, {}, { ...measured, version: 1 }, { ...measured, products: [] }, { ...measured, instructionMs: 0 }, { ...measured, bytesPerSecond: { add: -1 } }, { ...measured, diskReadBytesPerSecond: 'fast' }]) {
      expect(parseCalibration(damaged)).toBeUndefined();
    }
  });
});
