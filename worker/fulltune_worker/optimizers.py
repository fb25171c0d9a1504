"""The optimizer of the plan: which library's, over which parameters, with which decay. Matrices and embeddings decay; vectors do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from .errors import MissingPackageError
from .lion import Lion, Sgd
from .plan import Optimizer, Plan

Groups = list[dict[str, Any]]
Maker = Callable[[Groups], torch.optim.Optimizer]

CODED_ADAMW = {"adamw_8bit": "AdamW8bit", "adamw_4bit": "AdamW4bit"}
"""Whose moments are codes, and torchao's name of it: blocks of 256 with eight bits, of 128 with four."""


class Optimizers:
    """One or several optimizers that step together; in backward there is one per parameter."""

    def __init__(self, members: Sequence[torch.optim.Optimizer]) -> None:
        self.members = list(members)

    def set_rate(self, rate: float) -> None:
        for member in self.members:
            for group in member.param_groups:
                # torchao compiles its update and wants the rate as a tensor, so that a new rate is no new program.
                group["lr"] = torch.tensor(rate, dtype=torch.float32) if _is_torchao(member) else rate

    def step(self) -> None:
        for member in self.members:
            member.step()

    def zero_grad(self) -> None:
        for member in self.members:
            member.zero_grad(set_to_none=True)


class InBackward(Optimizers):
    """Updates each parameter as soon as its gradient is complete, and frees the gradient. `take_norm` gives the norm of the update's gradients."""

    def __init__(self, parts: Sequence[tuple[Maker, Sequence[nn.Parameter]]], decay: float) -> None:
        by_parameter = {parameter: make(_groups([parameter], decay)) for make, members in parts for parameter in members}
        super().__init__(list(by_parameter.values()))
        self._squares: list[torch.Tensor] = []

        def update(parameter: torch.Tensor) -> None:
            assert parameter.grad is not None and isinstance(parameter, nn.Parameter)
            self._squares.append(parameter.grad.detach().float().square().sum())
            by_parameter[parameter].step()
            parameter.grad = None

        for parameter in by_parameter:
            parameter.register_post_accumulate_grad_hook(update)

    def step(self) -> None:
        """Everything is done already."""

    def take_norm(self) -> torch.Tensor:
        squares, self._squares = self._squares, []
        return torch.stack(squares).sum().sqrt()


def make_optimizers(model: nn.Module, plan: Plan, device: torch.device) -> Optimizers:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    choice = plan.optimizer
    shares = _shares(model, choice, parameters) if choice.kind in CODED_ADAMW else [(choice, parameters)]
    parts = [(_maker(each, plan, device), members) for each, members in shares if members]
    if plan.in_backward:
        return InBackward(parts, choice.weight_decay)
    return Optimizers([make(_groups(members, choice.weight_decay)) for make, members in parts])


def _shares(model: nn.Module, choice: Optimizer, parameters: Sequence[nn.Parameter]) -> list[tuple[Optimizer, Sequence[nn.Parameter]]]:
    """Which parameters have coded moments, and which keep those of AdamW: vectors, and with eight bits embeddings unless the plan says otherwise.

    torchao itself leaves tensors uncoded that are under 4096 elements or no multiple of its block.
    """
    keeps = choice.kind == "adamw_8bit" and not choice.embeddings
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)} if keeps else set()
    coded = [p for p in parameters if p.ndim >= 2 and id(p) not in embeddings]
    plain = [p for p in parameters if p.ndim < 2 or id(p) in embeddings]
    whole = Optimizer("adamw", choice.weight_decay, choice.beta1, choice.beta2, choice.epsilon)
    return [(choice, coded), (whole, plain)]


def _groups(parameters: Sequence[nn.Parameter], decay: float) -> Groups:
    parts = [([p for p in parameters if p.ndim >= 2], decay), ([p for p in parameters if p.ndim < 2], 0.0)]
    return [{"params": members, "weight_decay": rate} for members, rate in parts if members]


def _maker(choice: Optimizer, plan: Plan, device: torch.device) -> Maker:
    rounds = plan.precision == "bf16-weights"
    betas = (choice.beta1, choice.beta2)
    match choice.kind:
        case "adamw" if not rounds:
            # The fused kernel of torch: one launch for all tensors. With parameters offloaded to the host it runs there.
            fused = device.type in ("cuda", "cpu")
            return lambda groups: torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=choice.epsilon, fused=fused)
        case "adamw":
            adamw = _torchao("_AdamW", "precision bf16-weights")
            return lambda groups: adamw(groups, lr=0.0, betas=betas, eps=choice.epsilon, bf16_stochastic_round=True)
        case "adamw_8bit" | "adamw_4bit":
            coded = _torchao(CODED_ADAMW[choice.kind], f"optim {choice.kind}")
            return lambda groups: coded(groups, lr=0.0, betas=betas, eps=choice.epsilon, bf16_stochastic_round=rounds)
        case "adafactor":
            from transformers.optimization import Adafactor

            first = choice.beta1 or None
            fixed = {"scale_parameter": False, "relative_step": False, "warmup_init": False, "eps": (1e-30, 1e-3), "clip_threshold": 1.0}
            return lambda groups: Adafactor(groups, lr=0.0, beta1=first, decay_rate=-0.8, **fixed)
        case "lion":
            return lambda groups: Lion(groups, 0.0, betas)
        case _:
            return lambda groups: Sgd(groups, 0.0, choice.momentum)


def _torchao(name: str, purpose: str) -> Any:
    try:
        import torchao.optim
    except ImportError as error:
        raise MissingPackageError("torchao", purpose) from error
    return getattr(torchao.optim, name)


def _is_torchao(optimizer: torch.optim.Optimizer) -> bool:
    return type(optimizer).__module__.startswith("torchao.")
