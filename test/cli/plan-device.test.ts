/** `fulltune plan --device`: what is printed, written and refused, with the real planner. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { renderDevicePlan } from '../../src/cli/device-plan-view.ts';
import { PLAIN } from '../../src/cli/colour.ts';
import { main } from '../../src/cli/main.ts';
import { recorder } from '../../src/cli/testing/recorder.ts';
import { planForDevice, type DevicePlanResult } from '../../src/index.ts';
import { sharedPath } from '../../src/testing/shared.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fulltune-device-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function run(line: string): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const terminal = recorder();
  const code = await main(line.split(' '), { terminal });
  return { code, out: terminal.out, err: terminal.err };
}

const EIGHT_H100 = 'plan --model meta-llama/Llama-3.1-8B --device 8xH100-80GB --train-batch-size 64 --max-length 8192';

describe('plan --device', () => {
  it('of a public model needs no folder, and says that it estimates', async () => {
    const { code, out } = await run(`${EIGHT_H100} --bf16`);
    expect(code).toBe(0);
    expect(out).toMatch(/^model {3}Llama-3\.1-8B \(LlamaForCausalLM\), 8,030,261,248 parameters\ndevice {2}8 × NVIDIA H100-SXM, 79\.10 GiB each\nrows {4}64 rows of 8,192 tokens per update\n/);
    expect(out).toMatch(/speed {3}[\d.]+ s per update, [\d,]+ tokens\/s, MFU \d+ % \(± 25 %\)/);
    expect(out).toContain('(estimate ± 10 %)');
    expect(out).toMatch(/FITS: [\d.]+ GiB \([\d.]+ GiB and 10 % for error\) of 79\.10 GiB per device\n$/);
  });

  it('keeps f32 unless it is told otherwise, and shows what bf16 would do', async () => {
    const { out } = await run(EIGHT_H100);
    expect(out).toMatch(/precision +f32/);
    expect(out).toMatch(/better, but it changes the numbers\n +--bf16 +would need [\d.]+ GiB each +and run in [\d.]+ s per update/);
  });

  it('prints one JSON object with a plan that a run on PyTorch can follow', async () => {
    const { code, out } = await run(`${EIGHT_H100} --bf16 --json`);
    expect(code).toBe(0);
    const result = JSON.parse(out) as DevicePlanResult;
    expect(result).toMatchObject({ kind: 'fits', engine: 'torch', plan: { version: 1, engine: 'torch', worldSize: 8, ranksPerNode: 8, precision: 'bf16', batch: { rowsPerUpdate: 64 } } });
    expect(Object.keys(result.plan).toSorted()).toEqual([
      'attention', 'batch', 'compile', 'cpuOffload', 'engine', 'expected', 'frozen', 'loss', 'maxGradNorm', 'optimizer', 'packing', 'precision', 'ranksPerNode', 'recompute', 'seed', 'sharding', 'update', 'version', 'worldSize',
    ]);
  });

  it('exits with 2 where nothing fits, with the smallest memory that would do', async () => {
    const { code, out } = await run('plan --model Qwen2.5-7B --device rtx-3060 --memory 4GiB');
    expect(code).toBe(2);
    expect(out).toMatch(/DOES NOT FIT: the smallest plan needs [\d.]+ GiB .*, and there are 4\.00 GiB/);
    expect(out).toMatch(/A device with [\d.]+ GiB to give would do\./);
  });

  it('reads folders and data: updates and total time are known then', async () => {
    const data = join(folder, 'data.jsonl');
    writeFileSync(data, Array.from({ length: 40 }, (_, index) => JSON.stringify({ text: `Once upon a time there was row ${index}, and it was a long one. `.repeat(20) })).join('\n'));
    const { code, out } = await run(`plan --model ${sharedPath('models/stories260K')} --dataset ${data} --device rtx-4090 --max-length 256`);
    expect(code).toBe(0);
    expect(out).toContain('stories260K (llama)');
    expect(out).toMatch(/data {4}40 documents, [\d,]+ tokens/);
    expect(out).toMatch(/\d+ updates in /);
  });

  it('writes a page without scripts', async () => {
    const file = join(folder, 'plan.html');
    const { code, err } = await run(`${EIGHT_H100} --bf16 --html ${file}`);
    expect({ code, err }).toEqual({ code: 0, err: `the memory page is ${file}\n` });
    const html = readFileSync(file, 'utf8');
    expect(html).toContain('<title>Memory plan of Llama-3.1-8B on 8 × NVIDIA H100-SXM</title>');
    expect(html).toMatch(/class="segment segment-\d+ c-activation"/);
    expect(html).toContain('<b>chosen:</b>');
    expect(html).toContain('<script></script>');
  });

  it.each([80, 120])('keeps its tables within %i columns', async (columns) => {
    const result = await planForDevice({ model: 'Llama-3.2-3B', allow: ['all'] }, 'rtx-4090');
    const wide = renderDevicePlan(result, PLAIN, columns).split('\n').filter((line) => line.length > columns && !/^(note|speed|FITS|DOES)/.test(line));
    expect(wide).toEqual([]);
  });

  it('refuses devices and models that nobody knows, with the nearest name', async () => {
    expect(await run('plan --model gpt2 --device rtx-4091')).toMatchObject({ code: 2, err: expect.stringContaining('Did you mean rtx-4090?') as string });
    expect(await run('plan --model Llama-3.1-9B --device h100')).toMatchObject({ code: 2, err: expect.stringContaining('Did you mean Llama-3.1-8B?') as string });
    expect(await run('plan --model gpt2 --device h100 --max-length 2000')).toMatchObject({ code: 2, err: expect.stringContaining('table of 1024 positions') as string });
    expect(await run('plan --model gpt2 --device h100 --freeze *wte*')).toMatchObject({ code: 2, err: expect.stringContaining('only the sizes are known') as string });
  });

  it('leaves --device cpu to the embedded engine, and train without the flag', async () => {
    const { code, out } = await run(`plan --model ${sharedPath('models/stories260K')} --max-length 64 --device cpu`);
    expect({ code, embedded: out.includes('arena') }).toEqual({ code: 0, embedded: true });
    expect(await run('train --model m --dataset d.jsonl --device rtx-4090')).toMatchObject({ code: 2, err: expect.stringContaining('one of cpu, reference') as string });
  });
});
