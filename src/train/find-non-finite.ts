/**
 * Where a NaN or an infinity comes from: the programs of an update are run again instruction by instruction, over unchanged parameters, and
 * every output is looked at before anything overwrites it.
 */

import { partOf } from '../compile/lower.ts';
import type { Instruction, Operand } from '../devices/program.ts';
import { dtypeBytes, isFloat } from '../graph/dtype.ts';
import { elementCount } from '../graph/shape.ts';
import type { Submission } from './run-update.ts';
import type { TrainingState } from './training-state.ts';

const PIECE_ELEMENTS = 1 << 20;

/** A phrase that names the first value that is not finite: a parameter, or an op's output with its model path. */
export async function findNonFinite(state: TrainingState, submissions: readonly Submission[]): Promise<string> {
  for (const { value } of state.blocks('parameter')) {
    const found = firstNonFinite(state, { ...value, offset: state.block(value.name).offset });
    if (found !== undefined) return `parameter ${value.name} holds ${found} already before this step`;
  }
  for (const [index, { program, inputs }] of submissions.entries()) {
    state.setInputs(program, inputs);
    for (const [position, instruction] of program.instructions.entries()) {
      await state.arena.load(partOf(program, position, position + 1, `${program.name}, instruction ${position}`)).run();
      for (const output of instruction.outputs) {
        const found = isFloat(output.dtype) ? firstNonFinite(state, output) : undefined;
        if (found !== undefined) return `the first ${found} comes from ${describe(instruction)}${submissions.length > 1 ? `, program ${index + 1} of the update` : ''}`;
      }
    }
  }
  return 'no single op makes it when the step is repeated';
}

function describe({ op, scope, phase }: Instruction): string {
  return `${op} in ${scope === '' ? 'the step' : scope} (${phase})`;
}

/** `NaN`, `Infinity` or `-Infinity`, whichever comes first among the elements. */
function firstNonFinite(state: TrainingState, operand: Operand): string | undefined {
  const count = elementCount(operand.shape);
  for (let first = 0; first < count; first += PIECE_ELEMENTS) {
    const bytes = state.arena.readConverted(operand.offset + first * dtypeBytes(operand.dtype), operand.dtype, Math.min(PIECE_ELEMENTS, count - first), 'f32');
    const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    const found = values.find((value) => !Number.isFinite(value));
    if (found !== undefined) return String(found);
  }
  return undefined;
}
