"""Mean loss per trained token over the evaluation rows."""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from .batches import IGNORED, micro_batches
from .job import Job
from .parallel import Parallel
from .schedule import evaluation_rows
from .signs import Signs
from .tokens import TokenFile


def evaluate(parallel: Parallel, job: Job, file: TokenFile, signs: Signs, step: int) -> dict[str, Any]:
    """The eval event, the same on every rank."""
    assert job.paths.evaluation is not None
    started = time.perf_counter()
    plan, ranks = job.plan, parallel.ranks
    loss, tokens = 0.0, 0
    parallel.module.eval()
    with torch.no_grad(), parallel.autocast():
        for rows in evaluation_rows(job.paths.evaluation):
            for batch in micro_batches(file, rows, plan.row_lengths, plan.micro_batch_size, ranks.rank, ranks.world_size):
                signs.alive("evaluating", step)
                loss += parallel.module(batch.to(ranks.device)).item()
                tokens += int((batch.labels != IGNORED).sum())
    parallel.module.train()
    loss, total = parallel.sum(loss, tokens)
    mean = loss / max(1.0, total)
    perplexity = math.exp(mean) if mean < 700 else math.inf
    return {"kind": "eval", "step": step, "loss": mean, "perplexity": perplexity, "tokens": int(total), "evalMs": (time.perf_counter() - started) * 1000}
