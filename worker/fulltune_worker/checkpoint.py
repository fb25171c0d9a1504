"""
Checkpoints in torch's distributed form (DCP), which any number of ranks can read, beside the trainer_state.json that the embedded engine writes, too.
"""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from .errors import JobError
from .folders import folder_aside, remove_old_checkpoints, write_checksums, write_json
from .optimizers import Optimizers
from .parallel import Parallel

FLAT = StateDictOptions(flatten_optimizer_state_dict=True)


def load_base(parallel: Parallel, weights: dict[str, torch.Tensor] | None) -> None:
    """Gives every rank its part of the weights, which the first has read whole; `weights` is None on the others."""
    if parallel.sharded:
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
        set_model_state_dict(parallel.module, weights or {}, options=options)
        return
    if weights is not None:
        names = {name for name, _ in parallel.module.named_parameters()}
        missing = sorted(names - weights.keys())
        if missing:
            raise JobError(f"the base model has no weights for '{missing[0]}'")
        with torch.no_grad():
            for name, parameter in parallel.module.named_parameters():
                parameter.copy_(weights[name])


def save_checkpoint(
    parallel: Parallel, optimizers: Optimizers, run_directory: Path, step: int, trainer_state: dict[str, Any], keep: int, protect: set[int]
) -> dict[str, Any] | None:
    """Writes `checkpoint-<step>`, all ranks together; the event of it, on the first rank."""
    started = time.perf_counter()
    name = f"checkpoint-{step}"
    if not parallel.ranks.first:
        folder = Path(text_of_first(parallel, None))
        _write_shards(parallel, optimizers, folder)
        parallel.barrier()
        return None
    with folder_aside(run_directory, name) as folder:
        text_of_first(parallel, str(folder))
        _write_shards(parallel, optimizers, folder)
        write_json(folder / "trainer_state.json", trainer_state)
        size = write_checksums(folder, step)
    remove_old_checkpoints(run_directory, keep, protect)
    parallel.barrier()
    path = str(run_directory / name)
    return {"kind": "checkpoint", "step": step, "path": path, "bytes": size, "saveMs": (time.perf_counter() - started) * 1000}


def load_checkpoint(parallel: Parallel, optimizers: Optimizers, folder: Path) -> dict[str, Any]:
    """Fills weights and optimizer state from a checkpoint of any number of ranks; its trainer_state.json."""
    load_weights(parallel, folder)
    state = {"optimizer": get_optimizer_state_dict(parallel.module, optimizers.members, options=FLAT)}
    dcp.load(state, checkpoint_id=folder, no_dist=not dist.is_initialized())
    set_optimizer_state_dict(parallel.module, optimizers.members, state["optimizer"], options=FLAT)
    return read_trainer_state(folder)


def load_weights(parallel: Parallel, folder: Path) -> None:
    state = {"model": get_model_state_dict(parallel.module)}
    dcp.load(state, checkpoint_id=folder, no_dist=not dist.is_initialized())
    set_model_state_dict(parallel.module, state["model"], options=StateDictOptions(strict=False))


def read_trainer_state(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JobError(f"the trainer_state.json of '{folder}' cannot be read: {error}") from error


def text_of_first(parallel: Parallel, text: str | None) -> str:
    """The text of the first rank, on every rank."""
    if parallel.ranks.world_size == 1:
        return text or ""
    carried = [text]
    dist.broadcast_object_list(carried, src=0, device=torch.device("cpu"))
    return carried[0] or ""


def _write_shards(parallel: Parallel, optimizers: Optimizers, folder: Path) -> None:
    state = {"model": get_model_state_dict(parallel.module), "optimizer": get_optimizer_state_dict(parallel.module, optimizers.members, options=FLAT)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=folder, no_dist=not dist.is_initialized())
