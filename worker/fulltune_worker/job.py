"""The job file: what to train, by which plan, and where everything lies. The same form as `src/torch/job-schema.ts`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import JobError
from .plan import Plan, read_plan
from .validate import boolean, choice, integer, items, number, record, text

FORMAT = "fulltune-torch-job"
VERSION = 1


@dataclass(frozen=True)
class Settings:
    logging_steps: int
    save_total_limit: int
    load_best_model_at_end: bool
    early_stopping_patience: int | None


@dataclass(frozen=True)
class Model:
    path: Path
    """Base model, in Hugging Face format."""
    files: Path
    """Folder whose files go beside the finished weights as they are: config.json, tokenizer and the like."""
    dtypes: dict[str, str]
    """Name of each parameter in the weight files → element type in the finished model: float32, bfloat16 or float16."""
    flops_per_token: float
    """Forward and backward, without recompute."""


@dataclass(frozen=True)
class Paths:
    run_directory: Path
    token_file: Path
    schedule: Path
    evaluation: Path | None
    events: Path
    control: Path
    """Folder through which launcher and ranks speak: requests in, signs of life out."""


@dataclass(frozen=True)
class Launcher:
    """The process that started the run, on whose death it stops; the host tells whether its id means anything here."""

    pid: int
    host: str


@dataclass(frozen=True)
class Job:
    settings: Settings
    plan: Plan
    model: Model
    paths: Paths
    device: str
    threads: int | None
    timeout_seconds: float
    launcher: Launcher | None
    checkpoint: Path | None
    """Folder to continue from; None: the base model."""
    start: dict[str, Any]
    """The start event; the worker fills in the device."""


def load_job(path: Path) -> Job:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JobError(f"the job '{path}' cannot be read: {error}") from error
    return read_job(value)


def read_job(value: Any) -> Job:
    """Raises JobError naming the key."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise JobError("this is not a job of fulltune")
    if value.get("version") != VERSION:
        raise JobError(
            f"the job has version {value.get('version')!r}; this worker reads version {VERSION}", "Use the worker that belongs to the fulltune that wrote it."
        )
    keys = {"format", "version", "settings", "plan", "model", "paths", "device", "threads", "timeoutSeconds", "launcher", "checkpoint", "start"}
    top = record(value, "job", keys)
    return Job(
        settings=_settings(top["settings"]),
        plan=read_plan(top["plan"]),
        model=_model(top["model"]),
        paths=_paths(top["paths"]),
        device=choice(top["device"], "device", ("auto", "cpu", "cuda", "mps")),
        threads=None if top["threads"] is None else integer(top["threads"], "threads", 1, 1024),
        timeout_seconds=number(top["timeoutSeconds"], "timeoutSeconds", 1),
        launcher=_launcher(top["launcher"]),
        checkpoint=None if top["checkpoint"] is None else Path(text(top["checkpoint"], "checkpoint")),
        start=_start(top["start"]),
    )


def _settings(value: Any) -> Settings:
    found = record(value, "settings", {"logging_steps", "save_total_limit", "load_best_model_at_end", "early_stopping_patience"})
    patience = found["early_stopping_patience"]
    return Settings(
        logging_steps=integer(found["logging_steps"], "settings.logging_steps", 1),
        save_total_limit=integer(found["save_total_limit"], "settings.save_total_limit", 1),
        load_best_model_at_end=boolean(found["load_best_model_at_end"], "settings.load_best_model_at_end"),
        early_stopping_patience=None if patience is None else integer(patience, "settings.early_stopping_patience", 1),
    )


def _model(value: Any) -> Model:
    found = record(value, "model", {"path", "files", "parameters", "flopsPerToken"})
    dtypes: dict[str, str] = {}
    for index, entry in enumerate(items(found["parameters"], "model.parameters", least=1)):
        where = f"model.parameters.{index}"
        parameter = record(entry, where, {"name", "dtype"})
        dtypes[text(parameter["name"], f"{where}.name")] = choice(parameter["dtype"], f"{where}.dtype", ("float32", "bfloat16", "float16"))
    return Model(
        Path(text(found["path"], "model.path")), Path(text(found["files"], "model.files")), dtypes, number(found["flopsPerToken"], "model.flopsPerToken")
    )


def _paths(value: Any) -> Paths:
    found = record(value, "paths", {"runDirectory", "tokenFile", "schedule", "evaluation", "events", "control"})
    evaluation = found["evaluation"]
    return Paths(
        run_directory=Path(text(found["runDirectory"], "paths.runDirectory")),
        token_file=Path(text(found["tokenFile"], "paths.tokenFile")),
        schedule=Path(text(found["schedule"], "paths.schedule")),
        evaluation=None if evaluation is None else Path(text(evaluation, "paths.evaluation")),
        events=Path(text(found["events"], "paths.events")),
        control=Path(text(found["control"], "paths.control")),
    )


def _launcher(value: Any) -> Launcher | None:
    if value is None:
        return None
    found = record(value, "launcher", {"pid", "host"})
    return Launcher(integer(found["pid"], "launcher.pid", 1), text(found["host"], "launcher.host"))


def _start(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or value.get("kind") != "start":
        raise JobError("start is not a start event")
    integer(value.get("startStep"), "start.startStep")
    integer(value.get("totalSteps"), "start.totalSteps", 1)
    return value
