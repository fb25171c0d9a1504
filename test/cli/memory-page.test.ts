/** `--html FILE` of plan and inspect memory: where the page goes, what is refused, and that it shows the plan that is printed. */

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { main } from '../../src/cli/main.ts';
import { recorder } from '../../src/cli/testing/recorder.ts';
import { FITS } from '../../src/cli/testing/sample-plan.ts';
import type { Engine } from '../../src/cli/verb.ts';
import { plan, type MemoryPicture, type PlanOptions, type PlanResult, type RunConfig } from '../../src/index.ts';
import { sharedPath } from '../../src/testing/shared.ts';
import { samplePicture } from '../../src/watch/testing/sample-picture.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fulltune-html-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function run(line: string, answer: PlanResult = FITS) {
  const terminal = recorder();
  const asked: (PlanOptions | undefined)[] = [];
  const engine = { plan: (_: RunConfig, options?: PlanOptions) => Promise.resolve((asked.push(options), options?.picture === true ? { ...answer, picture: samplePicture() } : answer)) };
  const code = await main(line.split(' '), { terminal, loadEngine: () => Promise.resolve(engine as unknown as Engine) });
  return { code, out: terminal.out, err: terminal.err, asked };
}

const FLAGS = '--model m --dataset d.jsonl';

describe('--html', () => {
  it.each(['plan', 'inspect memory'])('of %s writes the page, prints the plan as before, and says where the page is', async (verb) => {
    const file = join(folder, 'memory.html');
    const { code, out, err } = await run(`${verb} ${FLAGS} --html ${file}`);
    expect({ code, out, err }).toEqual({ code: 0, out: (await run(`${verb} ${FLAGS}`)).out, err: `the memory page is ${file}\n` });
    const html = readFileSync(file, 'utf8');
    expect(html).toContain('<title>Memory plan of small</title>');
    expect(html).toContain('<dt>verdict</dt><dd>FITS: 244.0 MiB of 800.0 MiB (1.00 GiB are free)</dd>');
    expect(html).toContain('<dt>max_<wbr>length</dt><dd>512, chosen: the longest document has 497 tokens</dd>');
    expect(html).toContain('<dt>packing</dt><dd>rows of 512 tokens (as the settings say)</dd>');
    expect(readdirSync(folder)).toEqual(['memory.html']);
  });

  it('asks for the picture only when there is a page to draw', async () => {
    expect((await run(`plan ${FLAGS}`)).asked[0]?.picture).toBeUndefined();
    expect((await run(`plan ${FLAGS} --html ${join(folder, 'a.html')}`)).asked[0]?.picture).toBe(true);
  });

  it('together with --json leaves standard output to the JSON, which has no picture', async () => {
    const file = join(folder, 'memory.htm');
    const { out, err } = await run(`plan ${FLAGS} --json --html ${file}`);
    expect(JSON.parse(out)).toEqual(FITS);
    expect(err).toBe(`the memory page is ${file}\n`);
    expect(existsSync(file)).toBe(true);
  });

  it('shows a plan that does not fit too, with what would help', async () => {
    const file = join(folder, 'memory.html');
    const { code } = await run(`plan ${FLAGS} --html ${file}`, { ...FITS, kind: 'too-small', neededBytes: 5, remedies: ['Try --max-length 256.'] });
    expect(code).toBe(2);
    expect(readFileSync(file, 'utf8')).toContain('<dt>to make it fit</dt><dd>Try --max-length 256.</dd>');
  });

  it('replaces an older page', async () => {
    const file = join(folder, 'memory.html');
    writeFileSync(file, 'old');
    await run(`plan ${FLAGS} --html ${file}`);
    expect(readFileSync(file, 'utf8')).not.toContain('old<');
    expect(readFileSync(file, 'utf8')).toMatch(/^<!doctype html>/);
  });

  it('refuses a folder, a name that is no page, and a folder that is not there, before any work', async () => {
    mkdirSync(join(folder, 'pages.html'));
    writeFileSync(join(folder, 'config.yaml'), 'keep');
    for (const [name, message] of [
      ['pages.html', /^E_FILE: --html '.*pages\.html' is a folder .*\n {2}Name a file: --html .*pages\.html\/memory\.html/],
      ['config.yaml', /^E_FILE: --html '.*config\.yaml' does not end in \.html/],
      ['none/memory.html', /^E_FILE: the folder '.*none' of --html does not exist/],
    ] as const) {
      const { code, err, out, asked } = await run(`plan ${FLAGS} --html ${join(folder, name)}`);
      expect(err).toMatch(message);
      expect({ code, out, asked }).toEqual({ code: 2, out: '', asked: [] });
    }
    expect(readFileSync(join(folder, 'config.yaml'), 'utf8')).toBe('keep');
    expect(readdirSync(join(folder, 'pages.html'))).toEqual([]);
  });
});

describe('plan(config, { picture: true })', () => {
  const config: RunConfig = { model: sharedPath('models/stories260K'), dataset: sharedPath('datasets/tinystories_sample.jsonl') };

  it('adds the picture of the very plan, and nothing else', async () => {
    const { picture, ...rest } = await plan(config, { picture: true });
    const { freeBytes: _free, budgetBytes: _budget, ...without } = await plan(config);
    expect(rest).toMatchObject(without);
    expect(without).not.toHaveProperty('picture');
    const { arenaBytes, processBytes, programs }: MemoryPicture = picture!;
    expect({ arenaBytes, processBytes }).toEqual({ arenaBytes: rest.memory.arenaBytes, processBytes: rest.memory.processBytes });
    expect(programs.map(({ name, nodes }) => [name, nodes.length])).toEqual(rest.memory.programs.map(({ name, instructions }) => [name, instructions]));
  });
});
