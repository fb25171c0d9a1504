"""Run events as JSON lines, the same union as `src/run/events.ts`; only the first rank writes."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any


class Events:
    def __init__(self, path: Path | None) -> None:
        """None: a rank that stays silent."""
        self._file = None if path is None else path.open("a", encoding="utf-8")

    def emit(self, event: dict[str, Any]) -> None:
        """One line, at once; what tells of something on disk is synced."""
        if self._file is None:
            return
        self._file.write(json.dumps(_finite(event), separators=(",", ":"), allow_nan=False) + "\n")
        self._file.flush()
        if event["kind"] in ("checkpoint", "end"):
            os.fsync(self._file.fileno())

    def warn(self, message: str) -> None:
        self.emit({"kind": "warning", "message": message})

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _finite(value: Any) -> Any:
    """JSON knows no infinity; null stands for it, as JSON.stringify writes it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
