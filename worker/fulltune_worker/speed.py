"""Speed: the multiply-add peak of the device that MFU refers to, the median step, and the time left."""

from __future__ import annotations

import statistics
import time

import torch

WARM_UP_STEPS = 2
WINDOW = 20


def measure_peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs per second of one product of large square matrices in the type of the training; of this rank's device."""
    size = 8192 if device.type == "cuda" else 1024
    a = torch.ones(size, size, device=device, dtype=dtype)
    best, until = 0.0, time.perf_counter() + 0.5
    while best == 0 or time.perf_counter() < until:
        _wait(device)
        started = time.perf_counter()
        a @ a
        _wait(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    if device.type == "cuda":
        # No step needs these matrices: the peak that is reported at the end begins here.
        del a
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class Throughput:
    """The first steps, which load and compile, are left out."""

    def __init__(self) -> None:
        self._recent: list[float] = []
        self._steady: list[float] = []
        self._seen = 0

    def record(self, step_ms: float) -> float:
        """The median of the recent steps, milliseconds."""
        self._seen += 1
        if self._seen == WARM_UP_STEPS + 1:
            self._recent.clear()
        self._recent = [*self._recent, step_ms][-WINDOW:]
        if self._seen > WARM_UP_STEPS:
            self._steady.append(step_ms)
        return statistics.median_high(self._recent)

    def median_step_ms(self) -> float | None:
        return statistics.median_high(self._steady) if self._steady else None
