"""One rank from start to end: whatever goes wrong is written down where the launcher finds it, and becomes an exit code."""

from __future__ import annotations

import os
import sys
import traceback

import torch
import torch.distributed as dist

from .errors import OUT_OF_MEMORY, USER_MISTAKE, JobError, NotFiniteError
from .events import Events
from .job import Job
from .memory import MemoryWatch, device_total_bytes
from .parallel import Ranks, join_ranks
from .signs import Signs
from .train import Run

OUT_OF_MEMORY_WORDS = ("can't allocate memory", "out of memory", "Cannot allocate memory", "STATUS_ALLOC_FAILED")


def run_rank(job: Job) -> int:
    signs = Signs(job, int(os.environ.get("RANK", "0")))
    if job.threads is not None:
        torch.set_num_threads(max(1, job.threads // job.plan.ranks_per_node))
    ranks: Ranks | None = None
    events = Events(None)
    code = 0
    try:
        ranks = join_ranks(job.plan, job.device, job.timeout_seconds)
        events = Events(job.paths.events if ranks.first else None)
        Run(job, ranks, signs, events).train()
    except BaseException as error:
        code = _report(error, signs, ranks)
    finally:
        events.close()
    if code == 0 and dist.is_initialized():
        dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    if code != 0:
        # Threads of a broken process group would keep the process alive; other ranks wait for it to be gone.
        os._exit(code)
    return code


def _report(error: BaseException, signs: Signs, ranks: Ranks | None) -> int:
    traceback.print_exc()
    if isinstance(error, JobError):
        signs.failed("mistake", str(error), remedy=error.remedy)
        return USER_MISTAKE
    if isinstance(error, NotFiniteError):
        signs.failed("not-finite", str(error))
        return USER_MISTAKE
    if is_out_of_memory(error):
        device = ranks.device if ranks is not None else torch.device("cpu")
        peak = MemoryWatch(device).peak()
        facts = {"allocatedBytes": peak.allocated, "reservedBytes": peak.reserved, "residentBytes": peak.resident, "totalBytes": device_total_bytes(device)}
        signs.failed("out-of-memory", str(error).split("\n")[0][:500], **facts)
        return OUT_OF_MEMORY
    signs.failed("bug", f"{type(error).__name__}: {str(error)[:1000]}")
    return 1


def is_out_of_memory(error: BaseException) -> bool:
    """Of the device, or of the host: torch's CPU allocator, and cuBLAS for its workspace, raise a plain RuntimeError."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY_WORDS)
