"""
How the launcher and the ranks know of each other, by small files in one folder: `rank-<r>.json` is a rank's sign of life and, at the end, what it
died of; `stop` and `checkpoint` are requests. Signals count as a request to stop, so that a run without a launcher can be stopped, too.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import Any

from .job import Job


class Signs:
    def __init__(self, job: Job, rank: int) -> None:
        self._folder = job.paths.control
        self._rank = rank
        launcher = job.launcher
        self._launcher_pid = launcher.pid if launcher is not None and launcher.host == socket.gethostname() else None
        self._signalled = False
        self._step = job.start["startStep"]
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._on_signal)
        self.alive("starting", self._step)

    def alive(self, phase: str, step: int) -> None:
        """`step` is the update under way."""
        self._step = step
        self._write({"phase": phase, "step": step})

    def failed(self, kind: str, message: str, **facts: Any) -> None:
        self._write({"phase": "failed", "step": self._step, "failure": {"kind": kind, "message": message, **facts}})

    def stop_asked(self) -> bool:
        return self._signalled or (self._folder / "stop").exists() or self._launcher_is_gone()

    def take_checkpoint_request(self) -> bool:
        path = self._folder / "checkpoint"
        if not path.exists():
            return False
        path.unlink(missing_ok=True)
        return True

    def _launcher_is_gone(self) -> bool:
        if self._launcher_pid is None:
            return False
        try:
            os.kill(self._launcher_pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False

    def _on_signal(self, _number: int, _frame: Any) -> None:
        self._signalled = True

    def _write(self, value: dict[str, Any]) -> None:
        path = self._folder / f"rank-{self._rank}.json"
        aside = path.with_suffix(".partial")
        aside.write_text(json.dumps({"rank": self._rank, "pid": os.getpid(), "host": socket.gethostname(), **value}), encoding="utf-8")
        aside.replace(path)
