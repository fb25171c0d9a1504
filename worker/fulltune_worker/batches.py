"""
Rows into micro-batches, as `src/data/micro-batch.ts` lays them out: the label of a position is the token after it when that belongs to the same
document and is learned; positions count from 0 in each document; what is left of a row is filling, a document of its own without labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .errors import JobError
from .tokens import TokenFile

IGNORED = -100


@dataclass(frozen=True)
class MicroBatch:
    """Every tensor is int64 [rows, row length]."""

    ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    document_start: torch.Tensor
    """Index within the row of the first token of the document."""
    one_document: bool
    """No row has more than one document, so that a causal mask is all that is needed."""

    def to(self, device: torch.device) -> MicroBatch:
        moved = (tensor.to(device, non_blocking=True) for tensor in (self.ids, self.labels, self.positions, self.document_start))
        return MicroBatch(*moved, one_document=self.one_document)


def micro_batches(
    file: TokenFile, rows: list[list[int]], row_lengths: tuple[int, ...], micro_batch_size: int, rank: int = 0, world_size: int = 1
) -> list[MicroBatch]:
    """
    The micro-batches of one rank. Rows are grouped by the shortest row length that holds them; groups are dealt to the ranks in turn, and every rank
    gets as many: one that has fewer gets filling, since all ranks must take part in every collective operation.
    """
    groups: list[list[list[int]]] = [[] for _ in row_lengths]
    for row in rows:
        tokens = int(file.lengths[row].sum())
        bucket = next((index for index, length in enumerate(row_lengths) if tokens <= length), None)
        if bucket is None:
            raise JobError(f"a row of the schedule has {tokens} tokens; the plan's rows have {', '.join(map(str, row_lengths))}")
        groups[bucket].append(row)
    mine: list[MicroBatch] = []
    for length, group in zip(row_lengths, groups, strict=True):
        pieces = [group[start : start + micro_batch_size] for start in range(0, len(group), micro_batch_size)]
        pieces += [[]] * (-len(pieces) % world_size)
        mine += [lay_out(file, piece, length, micro_batch_size) for piece in pieces[rank::world_size]]
    return mine


def lay_out(file: TokenFile, rows: list[list[int]], row_length: int, micro_batch_size: int) -> MicroBatch:
    """Rows of document positions; those missing to `micro_batch_size` are filling."""
    shape = (micro_batch_size, row_length)
    ids, positions, starts = (np.zeros(shape, np.int64) for _ in range(3))
    labels = np.full(shape, IGNORED, np.int64)
    counting = np.arange(row_length)
    one_document = all(len(row) <= 1 for row in rows)
    for index in range(micro_batch_size):
        start = 0
        for document_index in rows[index] if index < len(rows) else []:
            document = file.read(document_index)
            end = start + len(document.ids)
            ids[index, start:end] = document.ids
            labels[index, start : end - 1] = np.where(document.trained[1:] == 1, document.ids[1:], IGNORED)
            positions[index, start:end] = counting[: end - start]
            starts[index, start:end] = start
            start = end
        # Where a causal mask is all, positions count on: restarting ones would look like another document.
        positions[index, start:] = counting[start:] if one_document else counting[: row_length - start]
        starts[index, start:] = start
    tensors = (torch.from_numpy(array) for array in (ids, labels, positions, starts))
    return MicroBatch(*tensors, one_document=one_document)
