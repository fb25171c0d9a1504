/**
 * The cpu as a planner sees it: what decides scratch sizes and offsets, with no native module and no memory. A plan made with it anywhere is
 * the plan that the cpu runs.
 */

import type { DeviceSpec } from '../device.ts';
import { workspaceBytes } from './workspace.ts';

const ALIGNMENT = 64;

export function cpuSpec({ threads }: { readonly threads: number }): DeviceSpec {
  return {
    name: 'cpu',
    threads,
    alignment: ALIGNMENT,
    workspaceBytes: (op, inputs, outputs, attrs) => workspaceBytes(op, inputs, outputs, attrs, threads),
  };
}
