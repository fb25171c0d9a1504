"""Attention masks that keep the documents of a packed row apart: causal, and block-diagonal by document."""

from __future__ import annotations

from typing import Any

import torch

from .batches import MicroBatch

FLEX_BLOCK = 128


def attention_mask(batch: MicroBatch, kind: str, dtype: torch.dtype, causal_kernel: bool = True) -> Any:
    """
    What transformers takes as `attention_mask`: None where causal attention is all and SDPA has a `causal_kernel` for it; else a bias [B,1,T,T] of `dtype`,
    0 where a query sees a key (a bool one would become a bias in every layer, and each would be saved); or a FlexAttention BlockMask (`flex`).
    """
    if kind == "flex":
        return _block_mask(batch.document_start)
    if batch.one_document and kind == "sdpa":
        return None
    length = batch.ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=batch.ids.device).tril()
    same = batch.document_start.unsqueeze(2) == batch.document_start.unsqueeze(1)
    sees = (same & causal).unsqueeze(1)
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill(~sees, torch.finfo(dtype).min)


def _block_mask(document_start: torch.Tensor) -> Any:
    """
    Documents lie one after another, so that the first and the last query of a block tell which blocks of keys it sees a part of, and which whole:
    what create_block_mask finds, but without a mask of every pair on the way.
    """
    from torch.nn.attention.flex_attention import BlockMask

    def sees(row: torch.Tensor, _head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return (document_start[row, query] == document_start[row, key]) & (query >= key)

    length = document_start.shape[1]
    first = torch.arange(0, length, FLEX_BLOCK, device=document_start.device)
    last = (first + FLEX_BLOCK - 1).clamp(max=length - 1)
    from_key, to_key = (document_start[:, position].unsqueeze(2) for position in (first, last))
    query = first.unsqueeze(1)
    some = (from_key <= last) & (first <= query)
    whole = (to_key <= first) & (first < query) & (query + FLEX_BLOCK <= length)
    return BlockMask.from_kv_blocks(*_listed(some & ~whole), *_listed(whole), BLOCK_SIZE=FLEX_BLOCK, mask_mod=sees, seq_lengths=(length, length))


def _listed(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """bool [B,Q,K] → how many blocks of keys each block of queries has [B,1,Q], and which, those first [B,1,Q,K]."""
    marked = blocks.unsqueeze(1).int()
    return marked.sum(-1, dtype=torch.int32), marked.argsort(dim=-1, descending=True, stable=True).int()
