/** `fulltune doctor --engine torch`: what the torch engine needs, what is there, and the command that installs the rest. */

import { formatBytes } from '../base/bytes.ts';
import { FulltuneError } from '../base/errors.ts';
import type { DoctorCheck, DoctorReport } from '../train/doctor.ts';
import { probePython, pythonCommand, type PythonProbe } from './python.ts';
import { installCommand, requirements } from './requirements.ts';

export async function torchDoctor({ python }: { readonly python?: string } = {}): Promise<DoctorReport> {
  const command = pythonCommand(python);
  let probe: PythonProbe;
  try {
    probe = await probePython(command, { devices: true });
  } catch (error) {
    if (!(error instanceof FulltuneError)) throw error;
    return { checks: [{ name: 'Python', ok: false, detail: error.message, ...(error.remedy === undefined ? {} : { remedy: error.remedy }) }] };
  }
  const found = requirements(probe);
  const missing = found.filter(({ ok }) => !ok);
  const install = installCommand(probe, missing);
  return {
    checks: [
      ...found.map(({ name, found: version, needed, ok }, index): DoctorCheck => ({
        name, ok, detail: index === 0 ? `${version}, ${probe.executable}` : ok ? (version ?? `not installed (${needed})`) : `${version ?? 'not installed'}; needed: ${needed}`,
      })),
      ...(install === undefined ? [] : [{ name: 'to install', ok: false, detail: install }]),
      devices(probe),
    ],
  };
}

function devices({ devices: found, devicesError }: PythonProbe): DoctorCheck {
  if (devicesError !== undefined) return { name: 'devices', ok: false, detail: `torch cannot be imported: ${devicesError}` };
  if (found === undefined || found.length === 0) return { name: 'devices', ok: true, detail: 'no GPU that torch sees; runs on the CPU' };
  return { name: 'devices', ok: true, detail: found.map(({ kind, name, bytes }) => `${name} (${kind}${bytes === null ? '' : `, ${formatBytes(bytes)}`})`).join(', ') };
}
