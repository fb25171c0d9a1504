"""The training plan of a PyTorch run: the same form as `src/run/torch-plan.ts`, checked as `src/run/torch-plan-schema.ts` checks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .errors import JobError
from .validate import above_zero, boolean, choice, integer, items, number, record, text


@dataclass(frozen=True)
class Optimizer:
    """`kind` and the numbers that belong to it; those that another kind has are 0."""

    kind: str
    weight_decay: float
    beta1: float = 0.0
    beta2: float = 0.0
    epsilon: float = 0.0
    momentum: float = 0.0
    embeddings: bool = False
    """Embeddings have eight-bit moments too."""


@dataclass(frozen=True)
class Plan:
    world_size: int
    ranks_per_node: int
    packed: bool
    row_lengths: tuple[int, ...]
    """Ascending, in tokens."""
    rows_per_update: int
    micro_batch_size: int
    """Rows, per rank."""
    accumulation_steps: int
    precision: str
    chunk_tokens: int | None
    """Tokens whose logits exist at a time; None: all of a micro-batch."""
    optimizer: Optimizer
    recompute: str
    recompute_layers: int
    in_backward: bool
    sharding: str
    cpu_offload: bool
    attention: str
    compile: bool
    max_grad_norm: float
    frozen: tuple[str, ...]
    seed: int
    expected_peak_bytes: float | None
    """Per rank."""
    expected_step_ms: float | None


KEYS = {
    "version", "engine", "worldSize", "ranksPerNode", "packing", "batch", "precision", "loss", "optimizer", "recompute", "update", "sharding", "cpuOffload",
    "attention", "compile", "maxGradNorm", "frozen", "seed",
}  # fmt: skip


def read_plan(value: Any, where: str = "plan") -> Plan:
    """Raises JobError naming the key."""
    if isinstance(value, dict) and value.get("version") != 1:
        raise JobError(f"{where} has version {value.get('version')!r}; this worker reads version 1")
    top = record(value, where, KEYS, frozenset({"expected"}))
    choice(top["engine"], f"{where}.engine", ("torch",))
    packing = record(top["packing"], f"{where}.packing", {"packed", "rowLengths"})
    batch = record(top["batch"], f"{where}.batch", {"rowsPerUpdate", "microBatchSize", "accumulationSteps"})
    lengths = items(packing["rowLengths"], f"{where}.packing.rowLengths", least=1)
    recompute, layers = _recompute(top["recompute"], f"{where}.recompute")
    peak, step_ms = _expected(top.get("expected"), f"{where}.expected")
    plan = Plan(
        world_size=integer(top["worldSize"], f"{where}.worldSize", 1),
        ranks_per_node=integer(top["ranksPerNode"], f"{where}.ranksPerNode", 1),
        packed=boolean(packing["packed"], f"{where}.packing.packed"),
        row_lengths=tuple(integer(length, f"{where}.packing.rowLengths", 1) for length in lengths),
        rows_per_update=integer(batch["rowsPerUpdate"], f"{where}.batch.rowsPerUpdate", 1),
        micro_batch_size=integer(batch["microBatchSize"], f"{where}.batch.microBatchSize", 1),
        accumulation_steps=integer(batch["accumulationSteps"], f"{where}.batch.accumulationSteps", 1),
        precision=choice(top["precision"], f"{where}.precision", ("f32", "bf16", "f16", "bf16-weights")),
        chunk_tokens=_chunk(top["loss"], f"{where}.loss"),
        optimizer=_optimizer(top["optimizer"], f"{where}.optimizer"),
        recompute=recompute,
        recompute_layers=layers,
        in_backward=choice(top["update"], f"{where}.update", ("after-backward", "in-backward")) == "in-backward",
        sharding=choice(top["sharding"], f"{where}.sharding", ("none", "ddp", "zero2", "fsdp")),
        cpu_offload=boolean(top["cpuOffload"], f"{where}.cpuOffload"),
        attention=choice(top["attention"], f"{where}.attention", ("sdpa", "flex", "eager")),
        compile=boolean(top["compile"], f"{where}.compile"),
        max_grad_norm=number(top["maxGradNorm"], f"{where}.maxGradNorm"),
        frozen=tuple(text(name, f"{where}.frozen") for name in items(top["frozen"], f"{where}.frozen")),
        seed=integer(top["seed"], f"{where}.seed"),
        expected_peak_bytes=peak,
        expected_step_ms=step_ms,
    )
    refuse_contradictions(plan, where)
    return plan


def refuse_contradictions(plan: Plan, where: str) -> None:
    """What no run can carry out; the same list as in torch-plan-schema.ts."""
    batch_ranks = plan.world_size * plan.micro_batch_size * plan.accumulation_steps
    sharded = plan.sharding in ("zero2", "fsdp")
    checks = (
        (plan.world_size % plan.ranks_per_node != 0, f"worldSize {plan.world_size} is no multiple of ranksPerNode {plan.ranks_per_node}"),
        (plan.packed and len(plan.row_lengths) != 1, "packed rows have one length"),
        (list(plan.row_lengths) != sorted(set(plan.row_lengths)), "packing.rowLengths must ascend"),
        (
            batch_ranks < plan.rows_per_update,
            f"{plan.rows_per_update} rows per update do not fit into {batch_ranks} of all ranks, micro-batches and accumulation steps",
        ),
        (plan.sharding == "none" and plan.world_size > 1, f"sharding 'none' is for one rank; worldSize is {plan.world_size}"),
        (plan.cpu_offload and plan.sharding != "fsdp", f"cpuOffload needs sharding 'fsdp', not '{plan.sharding}'"),
        (plan.in_backward and plan.world_size > 1, f"an update in backward is for one rank; worldSize is {plan.world_size}"),
        (plan.in_backward and sharded, "an update in backward needs parameters that are not sharded"),
        (plan.in_backward and plan.accumulation_steps > 1, "an update in backward needs accumulationSteps 1: no gradient lives until the next micro-batch"),
        (plan.in_backward and len(plan.row_lengths) > 1, "an update in backward needs rows of one length: an update would be several micro-batches"),
        (plan.in_backward and plan.max_grad_norm > 0, f"an update in backward cannot clip to maxGradNorm {plan.max_grad_norm:g}: the norm is known after it"),
        (plan.in_backward and plan.precision == "f16", "an update in backward cannot skip a step, which a loss scale (precision f16) must be able to"),
        (plan.optimizer.kind == "adafactor" and plan.precision == "bf16-weights", "adafactor cannot round stochastically, which precision bf16-weights needs"),
        (plan.optimizer.kind == "adafactor" and sharded, "adafactor takes means over whole rows and columns, which sharded parameters do not have"),
    )
    for broken, message in checks:
        if broken:
            raise JobError(f"{where} contradicts itself: {message}", "Make a new plan.")


def _optimizer(value: Any, where: str) -> Optimizer:
    kinds = {
        "adamw": {"beta1", "beta2", "epsilon", "weightDecay"},
        "adamw_8bit": {"beta1", "beta2", "epsilon", "weightDecay", "embeddings"},
        "adamw_4bit": {"beta1", "beta2", "epsilon", "weightDecay"},
        "adafactor": {"beta1", "weightDecay"},
        "lion": {"beta1", "beta2", "weightDecay"},
        "sgd": {"momentum", "weightDecay"},
    }
    kind = choice(value.get("kind") if isinstance(value, dict) else value, f"{where}.kind", tuple(kinds))
    found = record(value, where, kinds[kind] | {"kind"})
    shares = {key: number(found[key], f"{where}.{key}", below=1.0) for key in ("beta1", "beta2", "momentum") if key in found}
    return Optimizer(
        kind=kind,
        weight_decay=number(found["weightDecay"], f"{where}.weightDecay"),
        epsilon=above_zero(found["epsilon"], f"{where}.epsilon") if "epsilon" in found else 0.0,
        embeddings=boolean(found["embeddings"], f"{where}.embeddings") if "embeddings" in found else False,
        **shares,
    )


def _recompute(value: Any, where: str) -> tuple[str, int]:
    kind = choice(value.get("kind") if isinstance(value, dict) else value, f"{where}.kind", ("none", "selective", "layers"))
    found = record(value, where, {"kind", "layers"} if kind == "layers" else {"kind"})
    return kind, integer(found["layers"], f"{where}.layers", 1) if kind == "layers" else 0


def _chunk(value: Any, where: str) -> int | None:
    kind = choice(value.get("kind") if isinstance(value, dict) else value, f"{where}.kind", ("whole", "chunked"))
    found = record(value, where, {"kind", "tokens"} if kind == "chunked" else {"kind"})
    return integer(found["tokens"], f"{where}.tokens", 1) if kind == "chunked" else None


def _expected(value: Any, where: str) -> tuple[float | None, float | None]:
    if value is None:
        return None, None
    found = record(value, where, {"peakBytes", "stepMs"})
    step_ms = found["stepMs"]
    return number(found["peakBytes"], f"{where}.peakBytes"), None if step_ms is None else number(step_ms, f"{where}.stepMs")
