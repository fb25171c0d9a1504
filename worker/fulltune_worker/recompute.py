"""Activation checkpointing of layers: all of a layer but its input is computed again, or all but the results of products and attention."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from .plan import Plan

aten = torch.ops.aten
KEPT = {
    aten.mm.default, aten.addmm.default, aten.bmm.default, aten.linear.default, aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_efficient_attention.default, aten._scaled_dot_product_cudnn_attention.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
}  # fmt: skip


def apply_recompute(layers: nn.ModuleList, plan: Plan) -> None:
    """Changes `forward` of the layers that the plan names; call it before they are sharded or compiled, so that hooks stay outside."""
    if plan.recompute == "none":
        return
    count = plan.recompute_layers if plan.recompute == "layers" else len(layers)
    options: dict[str, Any] = {"context_fn": partial(create_selective_checkpoint_contexts, _policy)} if plan.recompute == "selective" else {}
    for layer in list(layers)[:count]:
        layer.forward = _checkpointed(layer.forward, options)


def _checkpointed(forward: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, **options, **kwargs) if torch.is_grad_enabled() else forward(*args, **kwargs)

    return run


def _policy(_context: Any, operation: Any, *_args: Any, **_kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in KEPT else CheckpointPolicy.PREFER_RECOMPUTE
