/** Weights and optimizer state between files and the arena, converting on the way through one staging buffer. */

import { FulltuneError } from '../base/errors.ts';
import type { SafetensorsDType } from '../files/safetensors.ts';
import { WeightFiles } from '../files/weight-files.ts';
import { writeSafetensors, writeSharded, type FileWritten } from '../files/write-safetensors.ts';
import type { DType } from '../graph/dtype.ts';
import { formatType, sameShape } from '../graph/shape.ts';
import type { FileParameter } from './model-directory.ts';
import type { TrainingState } from './training-state.ts';

const FROM_FILE: Readonly<Partial<Record<SafetensorsDType, DType>>> = { F32: 'f32', BF16: 'bf16', F16: 'f16', U8: 'u8' };
/** Optimizer state goes to its file in the type that it has in memory. */
const STATE_TO_FILE = { f32: 'F32', bf16: 'BF16', f16: 'F16', u8: 'U8', i32: 'I32' } as const satisfies Readonly<Record<DType, SafetensorsDType>>;
const TO_FILE = { f32: 'F32', bf16: 'BF16', f16: 'F16' } as const satisfies Readonly<Partial<Record<DType, SafetensorsDType>>>;

export type FloatDType = keyof typeof TO_FILE;

export function isFloatDType(dtype: DType): dtype is FloatDType {
  return dtype in TO_FILE;
}

export function floatDType(dtype: SafetensorsDType): FloatDType {
  const found = FROM_FILE[dtype];
  if (found === 'f32' || found === 'bf16' || found === 'f16') return found;
  throw new FulltuneError('E_MODEL', `weights of dtype ${dtype} cannot be trained`, { remedy: 'Accepted are F32, BF16 and F16.' });
}

/** Fills the parameters of the arena from a model folder or a checkpoint. */
export async function readWeights(state: TrainingState, folder: string, parameters: readonly FileParameter[]): Promise<void> {
  const files = WeightFiles.open(folder);
  try {
    for (const { name, fileName } of parameters) {
      const stored = files.tensors.get(fileName);
      if (stored === undefined) throw new FulltuneError('E_FILE', `tensor '${fileName}' is missing`, { where: folder });
      await files.readTensor(fileName, state.writer(name, floatDType(stored.dtype)));
    }
  } finally {
    files.close();
  }
}

/** Fills the optimizer state from `optimizer.safetensors`, whose tensors must be exactly those of this run. */
export async function readOptimizerState(state: TrainingState, path: string): Promise<void> {
  const files = WeightFiles.openFile(path);
  try {
    const blocks = state.blocks('optimizer-state');
    for (const { value } of blocks) {
      const stored = files.tensors.get(value.name);
      if (stored === undefined || !sameShape(stored.shape, value.shape) || FROM_FILE[stored.dtype] !== value.dtype) {
        throw new FulltuneError('E_CHECKPOINT', `optimizer state '${value.name}' ${formatType(value)} is ${stored === undefined ? 'missing' : `${stored.dtype} [${stored.shape.join(', ')}]`} in the checkpoint`, {
          where: path, remedy: 'Resume with the optimizer and frozen parameters that the run was started with.',
        });
      }
      await files.readTensor(value.name, state.writer(value.name, value.dtype));
    }
    if (files.tensors.size !== blocks.length) {
      throw new FulltuneError('E_CHECKPOINT', `the checkpoint holds ${files.tensors.size} tensors of optimizer state, this run has ${blocks.length}`, {
        where: path, remedy: 'Resume with the optimizer and frozen parameters that the run was started with.',
      });
    }
  } finally {
    files.close();
  }
}

/** Writes the parameters under the names that the base model's files use, each in `dtypeOf` its dtype. */
export function writeWeights(state: TrainingState, folder: string, parameters: readonly FileParameter[], dtypeOf: (parameter: FileParameter) => FloatDType): Promise<readonly FileWritten[]> {
  const byFileName = new Map(parameters.map((parameter) => [parameter.fileName, parameter]));
  return writeSharded({
    directory: folder,
    tensors: parameters.map((parameter) => ({ name: parameter.fileName, dtype: TO_FILE[dtypeOf(parameter)], shape: parameter.shape })),
    metadata: { format: 'pt' },
    fill: async (fileName, write) => {
      const parameter = byFileName.get(fileName)!;
      await writePieces(state, parameter.name, dtypeOf(parameter), write);
    },
  });
}

export function writeOptimizerState(state: TrainingState, path: string): Promise<FileWritten> {
  const dtypes = new Map(state.blocks('optimizer-state').map(({ value }) => [value.name, value.dtype]));
  return writeSafetensors({
    path,
    tensors: state.blocks('optimizer-state').map(({ value }) => ({ name: value.name, dtype: STATE_TO_FILE[value.dtype], shape: value.shape })),
    metadata: { format: 'pt' },
    fill: (name, write) => writePieces(state, name, dtypes.get(name)!, write),
  });
}

/** Leaves the event loop a turn between pieces, so that nothing else stands still while a large tensor is written. */
async function writePieces(state: TrainingState, name: string, dtype: DType, write: (bytes: Uint8Array) => void): Promise<void> {
  for (const piece of state.pieces(name, dtype)) {
    write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
