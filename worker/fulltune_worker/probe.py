"""
`python probe.py [--devices]`: one JSON line with the versions of what is installed and, on request, the devices that torch sees. Needs nothing but
Python itself, so that it can say what is missing.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torch", "transformers", "safetensors", "numpy", "torchao", "bitsandbytes")


def versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def devices() -> list[dict[str, object]]:
    """Kind, name and bytes of each device besides the CPU."""
    import torch

    if torch.cuda.is_available():
        kind = "rocm" if torch.version.hip else "cuda"
        properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return [{"kind": kind, "name": found.name, "bytes": found.total_memory} for found in properties]
    if torch.backends.mps.is_available():
        return [{"kind": "mps", "name": "Apple GPU", "bytes": None}]
    return []


if __name__ == "__main__":
    report: dict[str, object] = {"python": platform.python_version(), "executable": sys.executable, "packages": versions()}
    if "--devices" in sys.argv:
        try:
            report["devices"] = devices()
        except Exception as error:
            report["devicesError"] = f"{type(error).__name__}: {error}"
    print(json.dumps(report))
