"""Checks of untyped JSON: each reader takes a value and the path of the place where it stands, and raises JobError naming that path."""

from __future__ import annotations

import math
from typing import Any

from .errors import JobError


def wrong(where: str, value: Any, wanted: str) -> JobError:
    text = repr(value)
    return JobError(
        f"{where} is {text if len(text) <= 80 else text[:77] + '...'}; it must be {wanted}", "The job was written by another version: start the run again."
    )


def record(value: Any, where: str, keys: set[str], optional: frozenset[str] = frozenset()) -> dict[str, Any]:
    """An object with exactly `keys`, and perhaps `optional` ones."""
    if not isinstance(value, dict):
        raise wrong(where, value, "an object")
    missing = sorted(keys - value.keys())
    if missing:
        raise JobError(f"{where} has no '{missing[0]}'")
    unknown = sorted(value.keys() - keys - optional)
    if unknown:
        raise JobError(f"{where} has an unknown key '{unknown[0]}'")
    return value


def integer(value: Any, where: str, least: int = 0, most: int = 2**53) -> int:
    """JSON has one kind of number: 3.0 is the whole number 3."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value != int(value) or not least <= value <= most:
        raise wrong(where, value, f"a whole number from {least}" + ("" if most == 2**53 else f" to {most}"))
    return int(value)


def number(value: Any, where: str, least: float = 0.0, below: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or not least <= value < below:
        raise wrong(where, value, f"a number from {least}" + ("" if below == math.inf else f", below {below}"))
    return float(value)


def above_zero(value: Any, where: str) -> float:
    found = number(value, where)
    if found == 0:
        raise wrong(where, value, "a number above 0")
    return found


def boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise wrong(where, value, "true or false")
    return value


def text(value: Any, where: str) -> str:
    if not isinstance(value, str) or value == "":
        raise wrong(where, value, "a text that is not empty")
    return value


def choice(value: Any, where: str, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise wrong(where, value, f"one of {', '.join(allowed)}")
    return value


def items(value: Any, where: str, least: int = 0) -> list[Any]:
    if not isinstance(value, list) or len(value) < least:
        raise wrong(where, value, "a list" + (f" of at least {least}" if least else ""))
    return value
