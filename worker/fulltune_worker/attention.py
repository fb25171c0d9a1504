"""Attention masks that keep the documents of a packed row apart: causal, and block-diagonal by document."""

from __future__ import annotations

from typing import Any

import torch

from .batches import MicroBatch


def attention_mask(batch: MicroBatch, kind: str, dtype: torch.dtype) -> Any:
    """
    What transformers takes as `attention_mask`: None where causal attention is all (SDPA then uses its causal kernel); else bool [B,1,T,T], true
    where a query sees a key (`sdpa`); the same as a bias of `dtype` (`eager`); or a FlexAttention BlockMask (`flex`).
    """
    if kind == "flex":
        return _block_mask(batch.document_start)
    if batch.one_document and kind == "sdpa":
        return None
    length = batch.ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=batch.ids.device).tril()
    same = batch.document_start.unsqueeze(2) == batch.document_start.unsqueeze(1)
    sees = (same & causal).unsqueeze(1)
    if kind == "sdpa":
        return sees
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill(~sees, torch.finfo(dtype).min)


def _block_mask(document_start: torch.Tensor) -> Any:
    from torch.nn.attention.flex_attention import create_block_mask

    def sees(row: torch.Tensor, _head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return (document_start[row, query] == document_start[row, key]) & (query >= key)

    rows, length = document_start.shape
    return create_block_mask(sees, rows, None, length, length, device=document_start.device)
