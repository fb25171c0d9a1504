/** The browser code of the memory page, as far as it needs no browser. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatBytes } from '../../base/bytes.ts';
import { formatCount, formatShare } from '../../cli/numbers.ts';
import { samplePicture } from '../testing/sample-picture.ts';
import { blockBox, frameOf, scales } from './arena-view.js';
import { blockAt, kindsAt, openPrograms } from './blocks.js';
import { binaryTicks, bytesText, bytesTick, countText, decimalTicks, shareText, timeText } from './units.js';
import { clampView, wholeView, zoomView } from './zoom.js';

describe('units', () => {
  it('write numbers as the command line does', () => {
    fc.assert(fc.property(fc.maxSafeNat(), (n) => {
      expect(bytesText(n)).toBe(formatBytes(n));
      expect(countText(n)).toBe(formatCount(n));
    }));
    expect([0, 0.0002, 0.0123, 0.41, 1].map(shareText)).toEqual([0, 0.0002, 0.0123, 0.41, 1].map(formatShare));
    expect([0, 512, 1536, 1.5 * 2 ** 30].map(bytesTick)).toEqual(['0', '512 B', '1.5 KiB', '1.5 GiB']);
    expect([850, 9800, 240_000].map(timeText)).toEqual(['850 ms', '9.8 s', '4 min']);
  });

  it('put ticks on round numbers, no more than there is room for', () => {
    expect(binaryTicks(0, 5 * 2 ** 30, 6)).toEqual([0, 1, 2, 3, 4, 5].map((n) => n * 2 ** 30));
    expect(decimalTicks(0, 1273, 11, 1)).toEqual([0, 200, 400, 600, 800, 1000, 1200]);
    expect(decimalTicks(3, 8, 100, 1)).toEqual([3, 4, 5, 6, 7, 8]);
    fc.assert(fc.property(fc.nat(1e6), fc.integer({ min: 4, max: 1e6 }), fc.integer({ min: 3, max: 12 }), (from, size, most) => {
      for (const ticks of [binaryTicks(from, from + size, most), decimalTicks(from, from + size, most, 1)]) {
        expect(ticks.length).toBeLessThanOrEqual(most);
        expect(ticks.length).toBeGreaterThan(0);
        expect(ticks.every((tick: number) => tick >= from && tick <= from + size)).toBe(true);
      }
    }));
  });
});

describe('blocks', () => {
  const [program] = openPrograms(samplePicture());

  it('are found at a position and a byte, persistent ones at every position', () => {
    expect(blockAt(program, 0, 10)?.name).toBe('model.layers.0.w');
    expect(blockAt(program, 3, 10)?.name).toBe('model.layers.0.w');
    expect(blockAt(program, 1, 130)?.name).toBe('layers.0.mlp/<b>');
    expect(blockAt(program, 0, 130)).toBeUndefined();
    expect(blockAt(program, 1, 192)?.name).toBe('layers.1.mlp/<b>');
    expect(blockAt(program, 1, 256)).toBeUndefined();
  });

  it('add up to the live bytes of the plan at every position, by class', () => {
    program.liveBytes.forEach((live: number, position: number) => {
      expect(program.curves.reduce((sum: number, { bytes }: { bytes: Float64Array }) => sum + bytes[position]!, 0)).toBe(live);
    });
    expect(program.curves.map(({ storage }: { storage: string }) => storage)).toEqual(['parameter', 'activation', 'workspace']);
  });

  it('are counted by kind, layers together', () => {
    expect(kindsAt(program, 1)).toEqual([
      { key: 'parameter model.layers.*.w', name: 'model.layers.*.w', storage: 'parameter', count: 2, bytes: 128 },
      { key: 'activation layers.*.mlp/<b>', name: 'layers.*.mlp/<b>', storage: 'activation', count: 2, bytes: 128 },
    ]);
  });

  it('know the node at a position', () => {
    expect([0, 2, 3].map(program.nodeName)).toEqual(['layers.0.mlp/matmul', 'loss', 'the end']);
    expect([0, 1, 2, 3].map(program.phaseAt)).toEqual(['forward', 'forward', 'backward', 'end']);
  });
});

describe('views', () => {
  const picture = samplePicture();
  const [program] = openPrograms(picture);

  it('show the whole arena or the transient part', () => {
    expect(wholeView(program, picture, 'whole')).toEqual({ x0: 0, x1: 4, y0: 0, y1: 256 });
    expect(wholeView(program, picture, 'transient')).toEqual({ x0: 0, x1: 4, y0: 128, y1: 256 });
  });

  it('map positions and bytes to pixels and back', () => {
    const frame = frameOf(500, 400, { phases: true });
    const scale = scales(frame, { x0: 10, x1: 30, y0: 1000, y1: 3000 });
    expect([scale.x(10), scale.x(30), scale.y(1000), scale.y(3000)]).toEqual([frame.left, frame.left + frame.width, frame.top + frame.height, frame.top]);
    fc.assert(fc.property(fc.double({ min: -100, max: 100, noNaN: true }), fc.double({ min: 0, max: 1e6, noNaN: true }), (position, byte) => {
      expect(scale.position(scale.x(position))).toBeCloseTo(position, 6);
      expect(scale.byte(scale.y(byte))).toBeCloseTo(byte, 3);
    }));
    const block = { birth: 0, death: 19, offset: 2000, size: 4000 };
    expect(blockBox(frame, scale, block)).toEqual({ left: frame.left, top: frame.top, width: frame.width / 2, height: frame.height / 2 });
    expect(blockBox(frame, scale, { ...block, birth: 31, death: 40 })).toBeUndefined();
  });

  it('stay within their limits and keep the point that is zoomed at', () => {
    const limits = { x0: 0, x1: 1000, y0: 0, y1: 2 ** 30 };
    fc.assert(fc.property(fc.double({ min: 0, max: 1000, noNaN: true }), fc.double({ min: 0, max: 2 ** 30, noNaN: true }), fc.double({ min: 0.01, max: 100, noNaN: true }), (position, byte, factor) => {
      const near = zoomView(limits, factor, { position, byte });
      expect((position - near.x0) / (near.x1 - near.x0)).toBeCloseTo(position / 1000, 6);
      expect((byte - near.y0) / (near.y1 - near.y0)).toBeCloseTo(byte / 2 ** 30, 6);
      const view = clampView(near, limits);
      expect(view.x0).toBeGreaterThanOrEqual(0);
      expect(view.x1).toBeLessThanOrEqual(1000 + 1e-9);
      expect(view.x1 - view.x0).toBeGreaterThanOrEqual(4 - 1e-9);
      expect(view.y0).toBeGreaterThanOrEqual(0);
      expect(view.y1).toBeLessThanOrEqual(2 ** 30 + 1e-3);
    }));
    expect(clampView({ x0: -500, x1: 5000, y0: 0, y1: 1 }, limits)).toMatchObject({ x0: 0, x1: 1000 });
  });
});
