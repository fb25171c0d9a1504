/**
 * A program as the flat list of numbers that native/program.c decodes (the layout is described in native/program.h), so that the
 * native side reads no JavaScript objects.
 */

import { FulltuneError } from '../../base/errors.ts';
import type { Attrs } from '../../graph/graph.ts';
import type { TensorType } from '../../graph/shape.ts';
import type { Operand, Program } from '../program.ts';
import { DTYPE_NUMBERS } from './native.ts';

const VERSION = 1;

export interface EncodedProgram {
  readonly code: Float64Array;
  /** The instructions refer to ops by index into this list. */
  readonly opNames: readonly string[];
}

/** `signatures`: op name to its attribute names in kernel order, separated by spaces. Throws E_DEVICE for an unknown op or attribute. */
export function encodeProgram(program: Program, signatures: Readonly<Record<string, string>>): EncodedProgram {
  const opNames: string[] = [];
  const indices = new Map<string, number>();
  const code: number[] = [VERSION, program.arenaBytes, program.commitIndex, program.instructions.length];
  program.instructions.forEach((instruction, position) => {
    const { op, inputs, outputs, workspace } = instruction;
    const where = `program '${program.name}', instruction ${position}${instruction.scope === '' ? '' : `, ${instruction.scope}`}`;
    const attrs = orderAttrs(op, instruction.attrs, signatures, where);
    let index = indices.get(op);
    if (index === undefined) {
      index = opNames.push(op) - 1;
      indices.set(op, index);
    }
    code.push(index, inputs.length, outputs.length, attrs.length, workspace.offset, workspace.bytes);
    for (const operand of [...inputs, ...outputs]) encodeOperand(code, operand);
    code.push(...attrs);
  });
  return { code: Float64Array.from(code), opNames };
}

/** One op without an arena: a program of one instruction, all of whose operands lie at 0. Enough to ask for its workspace. */
export function encodeOp(
  { op, inputs, outputs, attrs }: { readonly op: string; readonly inputs: readonly TensorType[]; readonly outputs: readonly TensorType[]; readonly attrs: Attrs },
  signatures: Readonly<Record<string, string>>,
): EncodedProgram {
  const code: number[] = [VERSION, 0, 1, 1];
  const values = orderAttrs(op, attrs, signatures, `workspace of '${op}'`);
  code.push(0, inputs.length, outputs.length, values.length, 0, 0);
  for (const type of [...inputs, ...outputs]) encodeOperand(code, { ...type, offset: 0 });
  code.push(...values);
  return { code: Float64Array.from(code), opNames: [op] };
}

function encodeOperand(code: number[], operand: Operand): void {
  code.push(DTYPE_NUMBERS[operand.dtype], operand.shape.length, ...operand.shape, operand.offset);
}

function orderAttrs(op: string, attrs: Readonly<Record<string, number>>, signatures: Readonly<Record<string, string>>, where: string): number[] {
  const signature = Object.hasOwn(signatures, op) ? signatures[op] : undefined;
  if (signature === undefined) throw new FulltuneError('E_DEVICE', `the cpu has no kernel for op '${op}'`, { where });
  const names = signature === '' ? [] : signature.split(' ');
  const extra = Object.keys(attrs).find((name) => !names.includes(name));
  if (extra !== undefined) throw new FulltuneError('E_DEVICE', `the cpu kernel of '${op}' knows no attribute '${extra}'`, { where });
  return names.map((name) => {
    const value = attrs[name];
    if (value === undefined) throw new FulltuneError('E_DEVICE', `the cpu kernel of '${op}' needs the attribute '${name}'`, { where });
    return value;
  });
}
