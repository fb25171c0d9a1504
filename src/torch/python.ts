/** Which Python runs the worker, and what it has installed. */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { env } from '../base/debug.ts';
import { FulltuneError } from '../base/errors.ts';

/** The folder of the Python package, in a checkout and in the installed package alike. */
export const WORKER_FOLDER = fileURLToPath(new URL('../../worker', import.meta.url));

const version = z.string().nullable();
const probeSchema = z.object({
  python: z.string(),
  executable: z.string(),
  packages: z.object({ torch: version, transformers: version, safetensors: version, numpy: version, torchao: version }),
  /** Besides the CPU. */
  devices: z.array(z.object({ kind: z.enum(['cuda', 'rocm', 'mps']), name: z.string(), bytes: z.number().nullable(), freeBytes: z.number().nullable(), bf16: z.boolean() })).exactOptional(),
  devicesError: z.string().exactOptional(),
});

export type PythonProbe = z.output<typeof probeSchema>;
/** A device as torch names it, its memory in all and what of it is free now (null: not known), and whether it has bf16 of its own. */
export type ProbedDevice = NonNullable<PythonProbe['devices']>[number];

const PROBE_TIMEOUT_MS = 120_000;

/** The command: the config's, the environment's, or python3. */
export function pythonCommand(python: string | undefined): string {
  return python ?? env.python ?? 'python3';
}

/** What the worker's processes see: no secrets, our package, no network for models, and nothing imported from the folder they run in. */
export function workerEnvironment(): Readonly<Record<string, string>> {
  const { withoutSecrets } = env;
  const paths = [WORKER_FOLDER, ...(withoutSecrets['PYTHONPATH'] === undefined ? [] : [withoutSecrets['PYTHONPATH']])];
  return { ...withoutSecrets, PYTHONPATH: paths.join(process.platform === 'win32' ? ';' : ':'), PYTHONSAFEPATH: '1', PYTHONUNBUFFERED: '1', HF_HUB_OFFLINE: '1', HF_HUB_DISABLE_PROGRESS_BARS: '1' };
}

/** `devices`: also import torch and look at the GPUs, which takes seconds. Throws E_DEVICE when there is no such Python. */
export async function probePython(command: string, { devices }: { readonly devices: boolean }): Promise<PythonProbe> {
  const { code, stdout, stderr } = await run(command, ['-m', 'fulltune_worker.probe', ...(devices ? ['--devices'] : [])]);
  const last = stdout.trim().split('\n').at(-1) ?? '';
  if (code === 0) {
    const parsed = probeSchema.safeParse(parseJson(last));
    if (parsed.success) return parsed.data;
  }
  throw new FulltuneError('E_DEVICE', `'${command}' does not run the worker: ${stderr.trim().split('\n').at(-1) || `it ended with ${code}`}`, {
    where: 'python', remedy: 'Give a Python 3.11 or newer: --python PATH, or FULLTUNE_PYTHON.',
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function run(command: string, words: readonly string[]): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, words, { env: workerEnvironment(), stdio: ['ignore', 'pipe', 'pipe'], timeout: PROBE_TIMEOUT_MS });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', (cause) => reject(new FulltuneError('E_DEVICE', `'${command}' cannot be started: ${cause.message}`, {
      where: 'python', remedy: 'Give a Python 3.11 or newer: --python PATH, or FULLTUNE_PYTHON.', cause,
    })));
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}
