"""The finished model as an ordinary Hugging Face folder: weights gathered from all ranks in safetensors, beside the files that the launcher laid out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from .errors import JobError
from .folders import folder_aside
from .job import Job
from .model import DTYPES, name_in_net
from .parallel import Parallel

MAX_FILE_BYTES = 5_000_000_000


def export_model(parallel: Parallel, job: Job) -> str | None:
    """Writes `model/`; its path, on the first rank. All ranks take part."""
    gathered = get_model_state_dict(parallel.module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if not parallel.ranks.first:
        parallel.barrier()
        return None
    weights = {name.removeprefix("net."): value for name, value in gathered.items()}
    with folder_aside(job.paths.run_directory, "model") as folder:
        for path in sorted(job.model.files.iterdir()):
            shutil.copyfile(path, folder / path.name)
        write_weights(folder, {name: _found(weights, name, parallel).to(DTYPES[dtype]).contiguous() for name, dtype in job.model.dtypes.items()})
    parallel.barrier()
    return str(job.paths.run_directory / "model")


def _found(weights: dict[str, torch.Tensor], name: str, parallel: Parallel) -> torch.Tensor:
    found = name_in_net(name, parallel.module.net, weights)
    if found is None:
        raise JobError(f"the trained model has no parameter '{name}'")
    return weights[found]


def write_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """One file, or several of at most 5 GB with an index, in the order given."""
    from safetensors.torch import save_file

    shards: list[dict[str, torch.Tensor]] = [{}]
    filled = 0
    for name, value in weights.items():
        if shards[-1] and filled + value.nbytes > MAX_FILE_BYTES:
            shards.append({})
            filled = 0
        shards[-1][name] = value
        filled += value.nbytes
    if len(shards) == 1:
        save_file(shards[0], folder / "model.safetensors", metadata={"format": "pt"})
        return
    places: dict[str, str] = {}
    for index, shard in enumerate(shards):
        file = f"model-{index + 1:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(shard, file)
    total = sum(value.nbytes for value in weights.values())
    index_text = json.dumps({"metadata": {"total_size": total}, "weight_map": places}, indent=2)
    (folder / "model.safetensors.index.json").write_text(index_text + "\n", encoding="utf-8")
