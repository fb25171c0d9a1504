"""
Reads the schedule that the launcher writes (`src/torch/schedule-file.ts`): per update its rows, its learning rate, and what is due after it. The
evaluation rows have the same form without the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import JobError

FORMAT = "fulltune-schedule"
VERSION = 1


@dataclass(frozen=True)
class Update:
    step: int
    epoch: float
    """Epochs done after this update."""
    learning_rate: float
    rows: list[list[int]]
    """Documents of each row, as positions in the token file."""
    tokens: int
    trained_tokens: int
    cursor: dict[str, int]
    """Where the stream of rows stands after this update."""
    evaluate: bool
    save: bool


class Schedule:
    """All updates of the run from its start step on, one line each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _opened(path)
        header = _header(self._file.readline(), path)
        self.first_step: int = header["firstStep"]
        self.total_steps: int = header["totalSteps"]
        self.layout: str = header["layout"]
        self.curve: dict[str, Any] = header["curve"]
        """The schedule state of trainer_state.json, as it is."""

    def updates(self) -> Iterator[Update]:
        step = self.first_step
        for line in self._file:
            value = json.loads(line)
            if value["step"] != step:
                raise JobError(f"the schedule '{self.path}' has step {value['step']} where {step} belongs", "Start the run again.")
            yield Update(
                step, value["epoch"], value["rate"], value["rows"], value["tokens"], value["trained"], value["cursor"], value["evaluate"], value["save"]
            )
            step += 1
        if step != self.total_steps + 1:
            raise JobError(f"the schedule '{self.path}' ends before step {step} of {self.total_steps}", "Start the run again.")

    def close(self) -> None:
        self._file.close()


def evaluation_rows(path: Path) -> Iterator[list[list[int]]]:
    """Blocks of rows; each block is cut into micro-batches by itself."""
    with _opened(path) as file:
        _header(file.readline(), path)
        for line in file:
            yield json.loads(line)["rows"]


def _opened(path: Path) -> Any:
    try:
        return path.open(encoding="utf-8")
    except OSError as error:
        raise JobError(f"the schedule '{path}' cannot be opened: {error.strerror}", "Start the run again.") from error


def _header(line: str, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except ValueError as error:
        raise JobError(f"the schedule '{path}' does not begin with a header") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT or header.get("version") != VERSION:
        raise JobError(f"'{path}' is not a schedule of version {VERSION}", "Use the worker that belongs to the fulltune that wrote it.")
    return header
