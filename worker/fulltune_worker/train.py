"""
A run on PyTorch as a story: load, then per step take the rows of an update from the schedule, run them through in micro-batches, update, report,
evaluate and save when due; at the end the finished model.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from .batches import micro_batches
from .checkpoint import load_base, load_checkpoint, load_weights, save_checkpoint
from .errors import JobError, NotFiniteError
from .evaluate import evaluate
from .events import Events
from .export import export_model
from .folders import checkpoints
from .job import Job
from .loss_scale import LossScale
from .memory import MemoryWatch
from .model import build_model, read_weights
from .optimizers import InBackward, make_optimizers
from .parallel import Parallel, Ranks
from .recompute import apply_recompute
from .schedule import Schedule, Update
from .signs import Signs
from .speed import Throughput, measure_peak_flops
from .tokens import TokenFile


@dataclass
class Progress:
    """What a checkpoint holds besides weights and optimizer state, as in trainer_state.json."""

    step: int
    epoch: float = 0.0
    best_step: int | None = None
    best_loss: float | None = None
    without_better: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)


class Run:
    """One process of a run, from the base model or a checkpoint to the end."""

    def __init__(self, job: Job, ranks: Ranks, signs: Signs, events: Events) -> None:
        self.job, self.ranks, self.signs, self.events = job, ranks, signs, events
        refuse_to_start_over(job)
        self.memory = MemoryWatch(ranks.device)
        self.file = TokenFile(job.paths.token_file)
        self.schedule = Schedule(job.paths.schedule)
        self.progress = Progress(job.start["startStep"])
        self.cursor: dict[str, int] = {"epoch": 0, "row": 0}
        self.saved_step: int | None = None
        plan = job.plan
        model = build_model(job.model.path, plan)
        apply_recompute(model.layers, plan)
        self.parallel = Parallel(model, plan, ranks)
        fresh = job.checkpoint is None
        load_base(self.parallel, read_weights(job.model.path, plan) if fresh and ranks.first else None)
        self.optimizers = make_optimizers(model, plan, ranks.device)
        stored = None if job.checkpoint is None else self._continue(load_checkpoint(self.parallel, self.optimizers, job.checkpoint))
        self.parallel.copy_to_ranks()
        self.scale = LossScale(plan.precision == "f16", stored)

    def _continue(self, state: dict[str, Any]) -> dict[str, Any] | None:
        """Takes over where the checkpoint stood; its loss scale."""
        self.progress = Progress(
            state["global_step"],
            state["epoch"],
            state["best_global_step"],
            state["best_metric"],
            state["evaluations_without_improvement"],
            state["log_history"],
        )
        self.cursor = {key: state["cursor"][key] for key in ("epoch", "row")}
        self.saved_step = self.progress.step
        return state.get("loss_scale")

    def train(self) -> None:
        started = time.perf_counter()
        job, total = self.job, self.schedule.total_steps
        throughput = Throughput()
        self.events.emit({**job.start, "device": describe_device(self.ranks)})
        with self.parallel.autocast():
            peak_flops = measure_peak_flops(self.ranks.device, self.parallel.module.compute_dtype) * self.ranks.world_size
        ended = "finished"
        for update in self.schedule.updates():
            if self._agreed(self.signs.stop_asked()):
                ended = "interrupted"
                break
            step_started = time.perf_counter()
            event = self._step(update)
            step_ms = (time.perf_counter() - step_started) * 1000
            eta = throughput.record(step_ms) * (total - update.step) / 1000
            event |= {
                "stepMs": step_ms, "tokensPerSecond": update.tokens / step_ms * 1000, "residentBytes": self.memory.look(), "etaSeconds": eta,
                "mfu": job.model.flops_per_token * update.tokens / (step_ms / 1000) / peak_flops,
            }  # fmt: skip
            if update.step % job.settings.logging_steps == 0 or update.step == total or "skipped" in event:
                self.events.emit(event)
            if self._after_step(update, total):
                break
        if self.saved_step != self.progress.step and ended == "interrupted":
            self._save()
        self._finish(ended, started, throughput)

    def _step(self, update: Update) -> dict[str, Any]:
        """One update; the step event without its times."""
        plan, parallel = self.job.plan, self.parallel
        weight = 0.0 if update.trained_tokens == 0 else 1 / update.trained_tokens
        # Stochastic rounding draws from here: the same bits whether or not the run was interrupted before this step.
        torch.manual_seed((plan.seed * 1_000_003 + update.step) * 4096 + self.ranks.rank)
        self.optimizers.set_rate(update.learning_rate)
        batches = micro_batches(self.file, update.rows, plan.row_lengths, plan.micro_batch_size, self.ranks.rank, self.ranks.world_size)
        losses: list[torch.Tensor] = []
        for index, batch in enumerate(batches):
            self.signs.alive("training", update.step)
            with parallel.micro_step(last=index == len(batches) - 1):
                loss = parallel.model(batch.to(self.ranks.device))
            (loss * (weight * self.scale.scale * parallel.gradient_factor)).backward()
            losses.append(loss.detach())
        (mean,) = parallel.sum(torch.stack(losses).double().sum().item() * weight if losses else 0.0)
        norm, used_scale = self._gradient_norm(), self.scale.scale
        applied = self._judge(update.step, mean, norm)
        if applied:
            self.optimizers.step()
        self.optimizers.zero_grad()
        self.progress.step, self.progress.epoch, self.cursor = update.step, update.epoch, update.cursor
        shown = {"step": update.step, "epoch": update.epoch, "loss": mean}
        self.progress.log.append({**shown, **({"grad_norm": norm} if applied else {}), "learning_rate": update.learning_rate})
        return {
            "kind": "step", **shown, "gradientNorm": norm if applied else None, "learningRate": update.learning_rate, "tokens": update.tokens,
            "trainedTokens": update.trained_tokens, **({"lossScale": used_scale} if self.scale.active else {}), **({} if applied else {"skipped": True}),
        }  # fmt: skip

    def _gradient_norm(self) -> float:
        """Of the whole update, without the loss scale and before clipping; gradients are then as the optimizer takes them."""
        if isinstance(self.optimizers, InBackward):
            return float(self.optimizers.take_norm())
        norm = float(self.parallel.gradient_norm()) / self.scale.scale
        limit = self.job.plan.max_grad_norm
        factor = (min(1.0, limit / (norm + 1e-6)) if limit > 0 else 1.0) / self.scale.scale
        if factor != 1.0 and math.isfinite(norm):
            torch._foreach_mul_(self.parallel.gradients(), factor)
        return norm

    def _judge(self, step: int, loss: float, norm: float) -> bool:
        try:
            return self.scale.accepts(loss, norm)
        except NotFiniteError as error:
            changed = "; the parameters have changed with it already" if self.job.plan.in_backward else ""
            raise NotFiniteError(f"step {step}: {error}{changed}") from error

    def _after_step(self, update: Update, total: int) -> bool:
        """Evaluates and saves when due; whether the run stops early."""
        settings, progress = self.job.settings, self.progress
        is_best = stops = False
        if update.evaluate:
            event = evaluate(self.parallel, self.job, self.file, self.signs, update.step)
            is_best = progress.best_loss is None or event["loss"] < progress.best_loss
            if is_best:
                progress.best_step, progress.best_loss, progress.without_better = update.step, event["loss"], 0
            else:
                progress.without_better += 1
            stops = update.step < total and settings.early_stopping_patience is not None and progress.without_better >= settings.early_stopping_patience
            self.events.emit(event)
        asked = self._agreed(self.signs.take_checkpoint_request())
        if update.save or asked or stops or (is_best and settings.load_best_model_at_end):
            self._save()
        if stops:
            best = f"a loss below {progress.best_loss:.5g} of step {progress.best_step}"
            self.events.warn(f"stopped early at step {update.step}: {progress.without_better} evaluations without {best}")
        return stops

    def _agreed(self, here: bool) -> bool:
        """Whether any rank says so: all of them then do it, at the same step."""
        return self.parallel.most(float(here))[0] > 0

    def _save(self) -> None:
        progress, settings = self.progress, self.job.settings
        self.signs.alive("saving", progress.step)
        state = {
            "version": 1, "global_step": progress.step, "epoch": progress.epoch, "best_metric": progress.best_loss, "best_global_step": progress.best_step,
            "evaluations_without_improvement": progress.without_better, "schedule": self.schedule.curve,
            "cursor": {**self.cursor, "layout": self.schedule.layout}, **({"loss_scale": self.scale.state} if self.scale.active else {}),
            "log_history": progress.log,
        }  # fmt: skip
        protect = {progress.best_step} if settings.load_best_model_at_end and progress.best_step is not None else set()
        event = save_checkpoint(self.parallel, self.optimizers, self.job.paths.run_directory, progress.step, state, settings.save_total_limit, protect)
        self.saved_step = progress.step
        if event is not None:
            self.events.emit(event)

    def _finish(self, ended: str, started: float, throughput: Throughput) -> None:
        job, progress = self.job, self.progress
        model_path, model_step = None, None
        if ended == "finished":
            self.signs.alive("exporting", progress.step)
            best = progress.best_step if job.settings.load_best_model_at_end else None
            if best is not None and best != progress.step:
                load_weights(self.parallel, job.paths.run_directory / f"checkpoint-{best}")
            model_path = export_model(self.parallel, job)
            model_step = best or progress.step
        peak = self.memory.peak()
        allocated, reserved, device, resident = self.parallel.most(peak.allocated, peak.reserved, peak.device, peak.resident)
        plan = job.plan
        # Only plans for accelerators say how long a step takes: on a CPU their figures are about another machine.
        elsewhere = self.ranks.device.type == "cpu" and plan.expected_step_ms is not None
        planned_bytes, planned_ms = (None, None) if elsewhere else (plan.expected_peak_bytes, plan.expected_step_ms)
        on_device = {"allocatedBytes": int(allocated), "reservedBytes": int(reserved), "deviceBytes": int(device)}
        self.events.emit({
            "kind": "end", "reason": ended, "step": progress.step, "modelPath": model_path, "modelStep": model_step,
            "plannedBytes": planned_bytes, "peakResidentBytes": int(resident), "predictedStepMs": planned_ms,
            "measuredStepMs": throughput.median_step_ms(), "suggestedMemoryBytes": None, "seconds": time.perf_counter() - started,
            **({} if self.ranks.device.type == "cpu" else {"devicePeak": on_device}),
        })  # fmt: skip
        self.signs.alive("ended", progress.step)


def refuse_to_start_over(job: Job) -> None:
    """A command that was printed once must not train again, from the beginning, what has checkpoints already."""
    newest = max((step for step, _ in checkpoints(job.paths.run_directory)), default=0)
    if newest > job.start["startStep"]:
        start = job.start["startStep"]
        raise JobError(f"the run has a checkpoint of step {newest}; this job starts at {start}", f"Go on: fulltune resume {job.paths.run_directory} --print")


def describe_device(ranks: Ranks) -> str:
    name = torch.cuda.get_device_name(ranks.device) if ranks.device.type == "cuda" else f"{ranks.device.type}, {torch.get_num_threads()} threads"
    count = "" if ranks.world_size == 1 else f"{ranks.world_size} × "
    return f"{count}{name}, torch {torch.__version__}"
