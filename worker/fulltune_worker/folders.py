"""
Folders that appear in one piece, and lists of checksums: the same rules as `src/files/write-aside.ts` and `src/files/checkpoint.ts`, so that a
checkpoint written here is one that the launcher finds, verifies and removes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHECKSUMS_FILE = "checksums.json"


@contextmanager
def folder_aside(parent: Path, name: str) -> Iterator[Path]:
    """Yields a hidden folder to fill; afterwards it is synced and takes the place of `parent/name`. When the filling fails nothing of it stays."""
    aside = hidden(parent, name, "partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        for path in [*sorted(aside.iterdir()), aside]:
            _sync(path)
        _put_in_place(parent, name, aside)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def hidden(parent: Path, name: str, kind: str) -> Path:
    return parent / f".{name}.{kind}-{os.getpid()}"


def write_checksums(folder: Path, step: int) -> int:
    """Lists every file of the folder; the bytes of all of them."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in sorted(folder.iterdir())}
    write_json(folder / CHECKSUMS_FILE, {"version": 1, "step": step, "files": files})
    return sum(path.stat().st_size for path in folder.iterdir())


def remove_old_checkpoints(run_directory: Path, keep: int, protect: set[int]) -> None:
    """The newest `keep` complete ones stay, and those of the steps in `protect`."""
    complete = sorted((step, path) for step, path in checkpoints(run_directory) if (path / CHECKSUMS_FILE).exists())
    for step, path in complete[: max(0, len(complete) - keep)]:
        if step not in protect:
            gone = hidden(run_directory, path.name, "removed")
            shutil.rmtree(gone, ignore_errors=True)
            path.rename(gone)
            shutil.rmtree(gone)


def checkpoints(run_directory: Path) -> list[tuple[int, Path]]:
    found = [(re.fullmatch(r"checkpoint-(0|[1-9]\d{0,14})", path.name), path) for path in run_directory.iterdir() if path.is_dir()]
    return [(int(match[1]), path) for match, path in found if match]


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _put_in_place(parent: Path, name: str, aside: Path) -> None:
    target = parent / name
    old = hidden(parent, name, "old")
    replaces = target.exists()
    if replaces:
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    aside.rename(target)
    _sync(parent)
    if replaces:
        shutil.rmtree(old)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
