/** Runs single ops and hand-made programs on a device, for tests: lays operands out one behind the other and reads everything back. */

import { alignUp } from '../../../base/bytes.ts';
import { encodeElements } from '../../../graph/dtype.ts';
import type { Attrs, Overwrite } from '../../../graph/graph.ts';
import { byteCount, type TensorType } from '../../../graph/shape.ts';
import type { Device } from '../../device.ts';
import type { Instruction, Operand, Program } from '../../program.ts';

/** Hands out places in an arena. */
export class Layout {
  bytes = 0;
  private readonly alignment: number;

  constructor(alignment = 64) {
    this.alignment = alignment;
  }

  place(type: TensorType): Operand {
    return { dtype: type.dtype, shape: type.shape, offset: this.reserve(byteCount(type)) };
  }

  reserve(bytes: number): number {
    const offset = this.bytes;
    this.bytes = alignUp(offset + bytes, this.alignment);
    return offset;
  }
}

export interface StepOptions {
  readonly op: string;
  readonly inputs: readonly Operand[];
  readonly outputs: readonly Operand[];
  readonly attrs?: Attrs;
}

/** An instruction with workspace of its own. */
export function step(device: Device, layout: Layout, { op, inputs, outputs, attrs = {} }: StepOptions): Instruction {
  const bytes = device.workspaceBytes(op, inputs, outputs, attrs);
  return { op, inputs, outputs, attrs, workspace: { offset: layout.reserve(bytes), bytes }, phase: 'forward', scope: 'test' };
}

export function programOf(layout: Layout, instructions: readonly Instruction[], commitIndex = instructions.length): Program {
  return { name: 'test', instructions, arenaBytes: layout.bytes, inputs: {}, outputs: {}, commitIndex };
}

export interface OpCase {
  readonly op: string;
  readonly inputs: readonly TensorType[];
  /** Elements, or bytes as they are. */
  readonly values: readonly ArrayLike<number>[];
  readonly outputs: readonly TensorType[];
  readonly attrs?: Attrs;
  readonly overwrites?: readonly Overwrite[];
}

/** The bytes of the outputs. Unused bytes of the arena are filled with NaN patterns first, so that reading them shows. */
export async function runOp(device: Device, one: OpCase): Promise<Uint8Array[]> {
  const layout = new Layout(device.alignment);
  const inputs = one.inputs.map((type) => layout.place(type));
  const outputs = one.outputs.map((type, index): Operand => {
    const over = one.overwrites?.find((o) => o.output === index);
    const base = over === undefined ? undefined : inputs[over.input];
    return base === undefined ? layout.place(type) : { ...type, offset: base.offset };
  });
  const instruction = step(device, layout, { op: one.op, inputs, outputs, attrs: one.attrs ?? {} });
  const arena = await device.allocate(Math.max(layout.bytes, device.alignment));
  try {
    arena.fill(0, arena.bytes, 0xff);
    inputs.forEach((operand, index) => arena.write(operand.offset, bytesOf(operand.dtype, one.values[index] ?? [])));
    await arena.load(programOf(layout, [instruction])).run();
    return outputs.map((operand) => arena.read(operand.offset, byteCount(operand)));
  } finally {
    arena.free();
  }
}

function bytesOf(dtype: TensorType['dtype'], values: OpCase['values'][number]): Uint8Array {
  return values instanceof Uint8Array ? values : encodeElements(dtype, values);
}
