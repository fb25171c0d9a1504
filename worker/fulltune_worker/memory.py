"""What this rank holds and held: allocated and reserved by torch, in use on the device by anyone, and the resident set of the process."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Peak:
    """Bytes; the first three are 0 on the CPU."""

    allocated: int
    reserved: int
    device: int
    resident: int


class MemoryWatch:
    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._most_on_device = 0

    def look(self) -> int:
        """Call it after each step: memory of the device in use now, by this process and others. The resident set on the CPU."""
        if self._device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self._device)
            now = total - free
        elif self._device.type == "mps":
            now = torch.mps.driver_allocated_memory()
        else:
            return resident_bytes()
        self._most_on_device = max(self._most_on_device, now)
        return now

    def peak(self) -> Peak:
        resident = peak_resident_bytes()
        if self._device.type == "cuda":
            return Peak(torch.cuda.max_memory_allocated(self._device), torch.cuda.max_memory_reserved(self._device), self._most_on_device, resident)
        if self._device.type == "mps":
            return Peak(torch.mps.current_allocated_memory(), torch.mps.driver_allocated_memory(), self._most_on_device, resident)
        return Peak(0, 0, 0, resident)


def device_total_bytes(device: torch.device) -> int | None:
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return peak_resident_bytes()


def peak_resident_bytes() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
