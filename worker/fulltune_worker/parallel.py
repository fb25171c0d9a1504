"""The ranks of a run: process group, device of each, copies or shards of the model, and what they tell each other in a step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from .errors import JobError
from .model import LossModel, materialise
from .plan import Plan


@dataclass(frozen=True)
class Ranks:
    rank: int
    world_size: int
    local_rank: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0


def join_ranks(plan: Plan, device: str, timeout_seconds: float) -> Ranks:
    """Reads what torchrun set, picks the device, and starts the process group when there are several ranks, or one that keeps shards on the host."""
    rank, local_rank, world_size = (int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1")))
    if world_size != plan.world_size:
        raise JobError(f"the plan is for {plan.world_size} ranks; {world_size} were started", "Start as many as the plan says, or make a new plan.")
    place = _device(device, local_rank)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if world_size > 1 or plan.sharding != "none":
        # The CPU backend stays beside NCCL: norms of offloaded shards are summed on the host.
        backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
        # The launcher's watch ends a run that hangs and says which rank does; the collectives wait longer, for runs that nobody watches.
        patience = timedelta(seconds=2 * timeout_seconds + 60)
        # One rank is started without torchrun, which would say where the ranks meet.
        alone: dict[str, Any] = {"store": dist.HashStore(), "rank": 0, "world_size": 1} if world_size == 1 else {}
        dist.init_process_group(backend, timeout=patience, device_id=place if place.type == "cuda" else None, **alone)
    return Ranks(rank, world_size, local_rank, place)


def _device(wanted: str, local_rank: int) -> torch.device:
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted == "cuda":
        count = torch.cuda.device_count()
        if local_rank >= count:
            raise JobError(f"rank {local_rank} of this node has no GPU: there are {count}", f"Use --nproc-per-node {max(1, count)}.")
        return torch.device("cuda", local_rank)
    return torch.device(wanted)


class Parallel:
    """The model as this rank has it: whole, a copy, or a shard. Losses of all ranks are summed; gradients are those of the sum."""

    def __init__(self, model: LossModel, plan: Plan, ranks: Ranks) -> None:
        self.plan = plan
        self.ranks = ranks
        self.module = model
        """Without wrapping: names, layers, state."""
        self.model: nn.Module = model
        model.device_type = ranks.device.type
        dtype = torch.bfloat16 if plan.precision == "bf16-weights" else torch.float32
        self.sharded = plan.sharding in ("zero2", "fsdp")
        if plan.compile:
            # `forward` and not the module, so that what gathers and frees shards stays outside of it.
            for layer in model.layers:
                layer.forward = torch.compile(layer.forward)
        if self.sharded:
            self._shard(model)
        materialise(model, ranks.device, dtype, torch.device("cpu") if plan.cpu_offload else None)
        if not self.sharded:
            model.net.tie_weights()

    def copy_to_ranks(self) -> None:
        """For DDP, once the weights are read: each rank takes those of the first."""
        if self.plan.sharding != "ddp":
            return
        from torch.nn.parallel import DistributedDataParallel

        ids = [self.ranks.device.index] if self.ranks.device.type == "cuda" else None
        self.model = DistributedDataParallel(self.module, device_ids=ids, gradient_as_bucket_view=True)

    def _shard(self, model: LossModel) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard

        compute = {"bf16": torch.bfloat16, "f16": torch.float16}.get(self.plan.precision)
        options: dict[str, Any] = {
            "mesh": init_device_mesh(self.ranks.device.type, (self.ranks.world_size,)),
            "reshard_after_forward": self.plan.sharding == "fsdp",
            "mp_policy": MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32, cast_forward_inputs=False),
            # Pinned memory is for copies to a GPU; where there is none, asking for it is an error.
            "offload_policy": CPUOffloadPolicy(pin_memory=self.ranks.device.type == "cuda") if self.plan.cpu_offload else OffloadPolicy(),
        }
        for layer in model.layers:
            fully_shard(layer, **options)
        fully_shard(model, **options)

    @contextmanager
    def micro_step(self, last: bool) -> Iterator[None]:
        """Around forward and backward of a micro-batch: copies of gradients meet in the last one only; parameters of `zero2` stay whole until then."""
        if self.plan.sharding == "zero2":
            self.module.set_reshard_after_backward(last)  # type: ignore[operator]
        waits = self.plan.sharding == "ddp" and not last
        with self.model.no_sync() if waits else nullcontext(), self.autocast():  # type: ignore[operator]
            yield

    def autocast(self) -> Any:
        compute = {"bf16": torch.bfloat16, "f16": torch.float16}.get(self.plan.precision)
        return nullcontext() if compute is None else torch.autocast(self.ranks.device.type, dtype=compute)

    @property
    def gradient_factor(self) -> float:
        """Ranks take the mean of gradients; multiplied by this it is their sum."""
        return float(self.ranks.world_size)

    def sum(self, *values: float) -> list[float]:
        """Sums over the ranks, in f64."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def most(self, *values: float) -> list[float]:
        return self._reduced(values, dist.ReduceOp.MAX)

    def _reduced(self, values: tuple[float, ...], how: Any) -> list[float]:
        if self.ranks.world_size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(tensor, how)
        return tensor.tolist()

    def gradients(self) -> list[torch.Tensor]:
        return [parameter.grad for parameter in self.module.parameters() if parameter.grad is not None]

    def gradient_norm(self) -> torch.Tensor:
        """Over all parameters and shards, f32 []."""
        # Of each tensor in f32, also of bf16 gradients: torch's get_total_norm would round the sum to bf16.
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient, dtype=torch.float32) for gradient in self.gradients()]))
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def barrier(self) -> None:
        if self.ranks.world_size > 1:
            self.sum(0.0)
