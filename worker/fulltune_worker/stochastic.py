"""Stochastic rounding to bf16: up or down with the probability that makes the mean right, so that small updates are not lost."""

from __future__ import annotations

import torch


def store(target: torch.Tensor, value: torch.Tensor) -> None:
    """Writes f32 `value` into `target`: rounded stochastically when that is bf16. Bits are drawn from the generator of the tensor's device."""
    if target.dtype != torch.bfloat16:
        target.copy_(value)
        return
    noise = torch.randint(0, 1 << 16, value.shape, dtype=torch.int32, device=value.device)
    target.copy_(((value.view(torch.int32) + noise) & -65536).view(torch.float32))
