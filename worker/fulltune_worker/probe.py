"""
`python probe.py [--devices]`: one JSON line with the versions of what is installed and, on request, the devices that torch sees. Needs nothing but
Python itself, so that it can say what is missing.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torch", "transformers", "safetensors", "numpy", "torchao")


def versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def devices() -> list[dict[str, object]]:
    """
    Of each device besides the CPU: kind, name, bytes in all, bytes that are free now, and whether it computes bf16 itself. Asking for what is free
    makes a context on the device, which is in the planned memory too: so a few hundred MiB are left unused rather than promised twice.
    """
    import torch

    if torch.cuda.is_available():
        kind = "rocm" if torch.version.hip else "cuda"
        # Of compute capability 8.0 on, bf16 has tensor cores; torch says that older ones have it too, and emulates it.
        return [
            {
                "kind": kind,
                "name": found.name,
                "bytes": found.total_memory,
                "freeBytes": torch.cuda.mem_get_info(index)[0],
                "bf16": kind == "rocm" or found.major >= 8,
            }
            for index, found in ((index, torch.cuda.get_device_properties(index)) for index in range(torch.cuda.device_count()))
        ]
    if torch.backends.mps.is_available():
        return [{"kind": "mps", "name": "Apple GPU", "bytes": torch.mps.recommended_max_memory(), "freeBytes": None, "bf16": False}]
    return []


if __name__ == "__main__":
    report: dict[str, object] = {"python": platform.python_version(), "executable": sys.executable, "packages": versions()}
    if "--devices" in sys.argv:
        try:
            report["devices"] = devices()
        except Exception as error:
            report["devicesError"] = f"{type(error).__name__}: {error}"
    print(json.dumps(report))
