"""Cross-entropy summed over labelled tokens, whole or in slices of tokens whose logits are computed again in backward."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from .batches import IGNORED


def summed_loss(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, labels: torch.Tensor, chunk_tokens: int | None) -> torch.Tensor:
    """`hidden` [N,D], `weight` [V,D], `labels` [N] int64 → f32 []."""
    tokens = hidden.shape[0]
    if chunk_tokens is None or chunk_tokens >= tokens:
        return _slice_loss(hidden, weight, bias, labels)
    total = hidden.new_zeros((), dtype=torch.float32)
    for start in range(0, tokens, chunk_tokens):
        part = slice(start, start + chunk_tokens)
        total = total + checkpoint(_slice_loss, hidden[part], weight, bias, labels[part], use_reentrant=False)
    return total


def _slice_loss(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, labels: torch.Tensor) -> torch.Tensor:
    logits = F.linear(hidden, weight, bias).float()
    return F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
