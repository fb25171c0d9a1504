"""The base model as one module from token ids to the sum of losses, with nothing of it read or placed yet; and the reading of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .attention import attention_mask
from .batches import MicroBatch
from .errors import JobError
from .loss import summed_loss
from .plan import Plan

ATTENTION = {"sdpa": "sdpa", "flex": "flex_attention", "eager": "eager"}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DROPOUTS = ("attention_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop", "hidden_dropout", "summary_first_dropout")


class LossModel(nn.Module):
    """`net` is the causal language model of transformers; the loss is inside, so that sharded output weights are whole when it is computed."""

    def __init__(self, net: Any, plan: Plan) -> None:
        super().__init__()
        self.net = net
        self.attention = plan.attention
        self.chunk_tokens = plan.chunk_tokens
        self.device_type = "cpu"
        """Where the model computes; its parameters may lie on the host."""

    def forward(self, batch: MicroBatch) -> torch.Tensor:
        """Sum of the losses of all labelled tokens in nats, f32 []."""
        mask = attention_mask(batch, self.attention, self.compute_dtype, self.has_causal_kernel)
        base = getattr(self.net, self.net.base_model_prefix)
        hidden = base(input_ids=batch.ids, attention_mask=mask, position_ids=batch.positions, use_cache=False).last_hidden_state
        head = self.net.get_output_embeddings()
        return summed_loss(hidden.flatten(0, 1), head.weight, getattr(head, "bias", None), batch.labels.flatten(), self.chunk_tokens)

    @property
    def compute_dtype(self) -> torch.dtype:
        if torch.is_autocast_enabled(self.device_type):
            return torch.get_autocast_dtype(self.device_type)
        return self.net.dtype

    @property
    def has_causal_kernel(self) -> bool:
        """
        CUDA's fused kernels let query heads share keys and values in 16 bits only, and from compute capability 8 on; else SDPA writes out the scores of
        all pairs, for backward too. With a bias transformers repeats keys and values instead, and a fused kernel takes them.
        """
        config = self.net.config
        shares = getattr(config, "num_key_value_heads", None) not in (None, config.num_attention_heads)
        if self.device_type != "cuda" or not shares:
            return True
        return self.compute_dtype != torch.float32 and torch.cuda.get_device_capability() >= (8, 0)

    @property
    def layers(self) -> nn.ModuleList:
        """The repeated blocks: the longest list of modules of one class."""
        lists = [module for module in self.net.modules() if isinstance(module, nn.ModuleList) and len({type(child) for child in module}) == 1]
        if not lists:
            raise JobError(f"no list of layers was found in {type(self.net).__name__}")
        return max(lists, key=len)


def build_model(path: Path, plan: Plan) -> LossModel:
    """Parameters have shapes and no storage (device `meta`); buffers, such as rotary frequencies, are real."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    for name in DROPOUTS:
        if getattr(config, name, 0):
            setattr(config, name, 0.0)
    with _parameters_on_meta():
        net = AutoModelForCausalLM.from_config(config, attn_implementation=ATTENTION[plan.attention], dtype=torch.float32)
    net.tie_weights()
    net.train()
    frozen = set(plan.frozen)
    parameters = dict(net.named_parameters())
    unknown = sorted(name for name in frozen if name_in_net(name, net, parameters) is None)
    if unknown:
        raise JobError(f"the plan freezes '{unknown[0]}', which the model does not have")
    for name in frozen:
        parameters[name_in_net(name, net, parameters) or ""].requires_grad_(False)
    return LossModel(net, plan)


def name_in_net(name: str, net: Any, names: Any) -> str | None:
    """A parameter's name in weight files may lack the prefix of the base model (`wte.weight` of GPT-2), or have one too many."""
    prefix = f"{net.base_model_prefix}."
    return next((candidate for candidate in (name, prefix + name, name.removeprefix(prefix)) if candidate in names), None)


def read_weights(path: Path, plan: Plan) -> dict[str, torch.Tensor]:
    """Weights of the base model by name in LossModel, on the CPU: f32, or bf16 where the plan holds them so."""
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if plan.precision == "bf16-weights" else torch.float32
    net = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, local_files_only=True)
    return {f"net.{name}": value for name, value in net.state_dict().items()}


def materialise(model: nn.Module, device: torch.device, dtype: torch.dtype, parameter_device: torch.device | None = None) -> None:
    """Gives every parameter storage of `dtype`, its values undefined, and moves the buffers."""
    target = parameter_device or device
    model._apply(lambda tensor: torch.empty_like(tensor, device=target, dtype=dtype) if tensor.is_meta else tensor.to(device))


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """Modules that are made inside keep their parameters without storage and their buffers as they are."""
    original = nn.Module.register_parameter

    def register(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        original(module, name, parameter)
        if parameter is not None and not parameter.is_meta:
            module._parameters[name] = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)

    nn.Module.register_parameter = register  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = original  # type: ignore[method-assign]
