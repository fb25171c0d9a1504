/** The committed executable as a user starts it: exit codes, what goes where, Ctrl-C, and resuming. The reference device needs no compiler. */

import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sharedPath } from '../../src/testing/shared.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const bin = join(root, 'bin', 'fulltune.js');
let folder = '';

beforeAll(() => {
  if (!existsSync(join(root, 'dist', 'cli', 'main.js'))) throw new Error('dist/ is not built: npm run build');
  folder = mkdtempSync(join(tmpdir(), 'fulltune-bin-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function fulltune(...words: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, ...words], { cwd: folder, encoding: 'utf8', timeout: 50_000 });
  return { status, stdout, stderr };
}

const quick = (): readonly string[] => [
  '--model', sharedPath('models/stories260K'), '--dataset', sharedPath('datasets/tinystories_sample.jsonl'),
  '--device', 'reference', '--max-length', '16', '--train-batch-size', '1', '--learning-rate', '1e-4',
];

describe('bin/fulltune.js', () => {
  it('is executable', () => {
    expect(statSync(bin).mode & 0o111).toBe(0o111);
  });

  it('says what to run when it is not built', () => {
    const bare = join(folder, 'bare');
    cpSync(join(root, 'bin'), join(bare, 'bin'), { recursive: true });
    writeFileSync(join(bare, 'package.json'), '{"type":"module"}');
    const { status, stderr } = spawnSync(process.execPath, [join(bare, 'bin', 'fulltune.js')], { encoding: 'utf8' });
    expect([status, stderr]).toEqual([2, 'fulltune is not built yet. Run: npm run build\n']);
  });

  it('prints help and version', () => {
    expect(fulltune('--help')).toMatchObject({ status: 0, stderr: '' });
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    expect(fulltune('--version')).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
  });

  it("prints a user's mistake on standard error, ends with 2 and writes nothing", () => {
    const mistakes = [
      ['train', '--max-lenght', '3'],
      ['train', ...quick(), '--model', 'nowhere', '--output-dir', 'out'],
      ['train', ...quick(), '--train-batch-tokens', '64', '--output-dir', 'out'],
      ['resume', 'nowhere'],
      ['init', 'new', '--like', 'nowhere'],
    ];
    const before = readdirSync(folder);
    for (const words of mistakes) {
      const { status, stdout, stderr } = fulltune(...words);
      expect(stderr, words.join(' ')).toMatch(/^E_[A-Z]+: /);
      expect(stderr, words.join(' ')).not.toMatch(/\n\s+at /);
      expect([status, stdout], words.join(' ')).toEqual([2, '']);
    }
    expect(readdirSync(folder)).toEqual(before);
  });

  it('plans without writing anything', () => {
    const before = readdirSync(folder);
    const { status, stdout, stderr } = fulltune('train', ...quick(), '--dry-run');
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/memory at the peak: .*\n {2}parameter .*\nFITS: /s);
    expect(readdirSync(folder)).toEqual(before);
  });

  it('Ctrl-C once writes a checkpoint and ends with 130, and resume goes on from there', async () => {
    const child = spawn(process.execPath, [bin, 'train', ...quick(), '--max-steps', '5000', '--output-dir', 'run'], { cwd: folder });
    let out = '';
    const status = await new Promise<number | null>((resolve) => {
      child.stdout.on('data', (chunk: Buffer) => {
        const before = out.includes('step 2/');
        out += chunk.toString();
        if (!before && out.includes('step 2/')) child.kill('SIGINT');
      });
      child.on('close', resolve);
    });
    expect(status, out).toBe(130);
    expect(out).toContain('finishing: writing a checkpoint … (press again to stop at once)');
    const [, stopped = ''] = /\ninterrupted {2}after step (\d+)/.exec(out) ?? [];
    expect(out).toContain(`checkpoint run/checkpoint-${stopped}`);
    expect(out.trimEnd().endsWith('fulltune resume run')).toBe(true);

    const goal = Number(stopped) + 2;
    const resumed = fulltune('resume', 'run', '--max-steps', String(goal), '--json');
    expect(resumed.status, resumed.stderr).toBe(0);
    const events = resumed.stdout.trimEnd().split('\n').map((line) => JSON.parse(line) as { kind: string; step?: number; startStep?: number });
    expect(events[0]).toMatchObject({ kind: 'start', startStep: Number(stopped), totalSteps: goal });
    expect(events.filter(({ kind }) => kind === 'step').map(({ step }) => step)).toEqual([goal - 1, goal]);
    expect(existsSync(join(folder, 'run', 'model', 'model.safetensors'))).toBe(true);
  });
});
