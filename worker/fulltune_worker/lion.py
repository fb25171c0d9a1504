"""Lion (Chen et al. 2023, algorithm 2) and SGD with momentum; both round stochastically into bf16 parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from .stochastic import store


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part: every rule here is element by element."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


class _ElementWise(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if self.has_momentum(group) and not state:
                    state["momentum"] = torch.zeros_like(parameter, dtype=torch.float32)
                value, gradient = _local(parameter), _local(parameter.grad).float()
                momentum = _local(state["momentum"]) if state else None
                store(value, self.updated(group, value.float(), gradient, momentum))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """torch gives state the type of its parameter; momentum stays f32, also beside bf16."""
        super().load_state_dict(state_dict)
        indices = [index for group in state_dict["param_groups"] for index in group["params"]]
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, parameter in zip(indices, parameters, strict=True):
            stored = state_dict["state"].get(index, {})
            if "momentum" in stored:
                self.state[parameter]["momentum"] = stored["momentum"].to(parameter.device, torch.float32)

    def has_momentum(self, group: dict[str, Any]) -> bool:
        return True

    def updated(self, group: dict[str, Any], value: torch.Tensor, gradient: torch.Tensor, momentum: torch.Tensor | None) -> torch.Tensor:
        """The new parameter; `momentum` is overwritten. All f32, of the parameter's local shape."""
        raise NotImplementedError


class Lion(_ElementWise):
    """p ← p·(1 - lr·wd) - lr·sign(β₁m + (1 - β₁)g); m ← β₂m + (1 - β₂)g."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    def updated(self, group: dict[str, Any], value: torch.Tensor, gradient: torch.Tensor, momentum: torch.Tensor | None) -> torch.Tensor:
        assert momentum is not None
        beta1, beta2 = group["betas"]
        direction = momentum.lerp(gradient, 1 - beta1).sign()
        momentum.lerp_(gradient, 1 - beta2)
        return value * (1 - group["lr"] * group["weight_decay"]) - group["lr"] * direction


class Sgd(_ElementWise):
    """g ← g + wd·p; m ← μ·m + g; p ← p - lr·m, as torch.optim.SGD."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, momentum: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})

    def has_momentum(self, group: dict[str, Any]) -> bool:
        return bool(group["momentum"] > 0)

    def updated(self, group: dict[str, Any], value: torch.Tensor, gradient: torch.Tensor, momentum: torch.Tensor | None) -> torch.Tensor:
        gradient = gradient + group["weight_decay"] * value
        if momentum is not None:
            momentum.mul_(group["momentum"]).add_(gradient)
        return value - group["lr"] * (gradient if momentum is None else momentum)
