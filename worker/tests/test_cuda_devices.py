"""
A step leaves every tensor on the accelerator and mixes in none of the CPU: shapes, types and devices alone, by fake tensors. No kernel runs, so that it
proves nothing of numbers, memory or speed; the accelerator is a stand-in, which has no autocast, FlexAttention or recompute, and NCCL is not asked.
"""

import importlib.util
import json
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

from fulltune_worker.attention import attention_mask
from fulltune_worker.batches import lay_out
from fulltune_worker.checkpoint import load_base
from fulltune_worker.loss_scale import LossScale
from fulltune_worker.model import build_model
from fulltune_worker.optimizers import make_optimizers
from fulltune_worker.parallel import Parallel, Ranks
from fulltune_worker.plan import Optimizer, Plan, read_plan
from fulltune_worker.recompute import apply_recompute
from fulltune_worker.schedule import Update
from fulltune_worker.tokens import Document
from fulltune_worker.train import Progress, Run

FIXTURES = Path(__file__).parent / "fixtures"
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 96, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "tie_word_embeddings": True, "use_sliding_window": False,
}  # fmt: skip
ADAMW = Optimizer("adamw", 0.1, 0.9, 0.999, 1e-8)
LION = Optimizer("lion", 0.1, 0.9, 0.99)
TECHNIQUES: dict[str, dict[str, Any]] = {
    "adamw": {},
    "eager attention, bf16 weights, sgd": {"attention": "eager", "precision": "bf16-weights", "optimizer": Optimizer("sgd", 0.1, momentum=0.9)},
    "chunked loss, recompute of layers, lion": {"chunk_tokens": 50, "recompute": "layers", "recompute_layers": 1, "optimizer": LION},
    "selective recompute": {"recompute": "selective"},
    "adafactor": {"optimizer": Optimizer("adafactor", 0.1, 0.9)},
    "in backward": {"in_backward": True, "max_grad_norm": 0.0},
}
CODED: dict[str, dict[str, Any]] = {
    "bf16 weights": {"precision": "bf16-weights"},
    "eight bits": {"optimizer": replace(ADAMW, kind="adamw_8bit", embeddings=True)},
    "four bits": {"optimizer": replace(ADAMW, kind="adamw_4bit")},
}


class Tokens:
    """Documents of 40 tokens each."""

    lengths = np.full(4, 40)

    def read(self, _index: int) -> Document:
        return Document(np.arange(40, dtype=np.int32), np.ones(40, np.uint8))


class StandIn(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class Fake(FakeTensorMode):
    """Nothing is made on the stand-in for true, not even what has known values."""

    avoid_device_init = True

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)


def plan_with(changes: dict[str, Any]) -> Plan:
    plan = read_plan(json.loads((FIXTURES / "job.json").read_text(encoding="utf-8"))["plan"])
    alone = {"world_size": 1, "ranks_per_node": 1, "rows_per_update": 2, "accumulation_steps": 1, "sharding": "none", "optimizer": ADAMW}
    return replace(plan, **{**alone, **changes})


class Devices(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        _setup_privateuseone_for_python_backend("standin", StandIn())
        cls.device = torch.device("standin", 0)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.path = Path(folder.name)
        (cls.path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")

    def run_of(self, plan: Plan) -> Run:
        """As `Run` makes itself, but for files."""
        run = object.__new__(Run)
        run.job, run.ranks, run.file = SimpleNamespace(plan=plan), Ranks(0, 1, 0, self.device), Tokens()
        run.signs, run.progress, run.scale = SimpleNamespace(alive=lambda *_: None), Progress(0), LossScale(plan.precision == "f16", None)
        model = build_model(self.path, plan)
        apply_recompute(model.layers, plan)
        weights = {name: torch.zeros(parameter.shape) for name, parameter in model.named_parameters()}
        with Fake():
            run.parallel = Parallel(model, plan, run.ranks)
            load_base(run.parallel, weights)
            run.optimizers = make_optimizers(model, plan, self.device)
        return run

    def check(self, cases: dict[str, dict[str, Any]]) -> None:
        for name, changes in cases.items():
            with self.subTest(name):
                event, run = self.step(changes, [[0, 1], [2, 3]])
                self.assertNotIn("skipped", event)
                self.assertEqual({tensor.device for tensor in self.held(run)}, {self.device})

    def step(self, changes: dict[str, Any], rows: list[list[int]]) -> tuple[dict[str, Any], Run]:
        """What has no value in a fake tensor is 1; torchao's update is not compiled."""
        run = self.run_of(plan_with(changes))
        values = patch.multiple(torch.Tensor, item=lambda _: 1.0, __float__=lambda _: 1.0, __bool__=lambda _: True)
        with values, patch("torch.compile", lambda function, **_: function), Fake():
            return run._step(Update(1, 0.1, 1e-3, rows, 80, 78, {}, False, False)), run

    def held(self, run: Run) -> list[torch.Tensor]:
        """What lives from step to step, but for the step counts and rates that optimizers keep on the host."""
        states = [state for member in run.optimizers.members for state in member.state.values()]
        self.assertGreater(len(states), 0)
        moments = [value for state in states for value in state.values() if isinstance(value, torch.Tensor) and value.ndim > 0]
        return [*run.parallel.module.parameters(), *run.parallel.module.buffers(), *moments]

    def test_every_technique_stays_on_the_accelerator(self) -> None:
        self.check(TECHNIQUES)

    def test_rows_of_one_document_stay_on_the_accelerator(self) -> None:
        _, run = self.step({}, [[0], [1]])
        self.assertEqual({tensor.device for tensor in self.held(run)}, {self.device})

    def test_slices_of_the_loss_lie_where_the_rows_are(self) -> None:
        run = self.run_of(plan_with({"chunk_tokens": 50}))
        with Fake(), torch.no_grad():
            loss = run.parallel.module(lay_out(Tokens(), [[0, 1], [2, 3]], 128, 2).to(self.device))
        self.assertEqual(loss.device, self.device)

    @unittest.skipIf(importlib.util.find_spec("torchao") is None, "torchao is not installed")
    def test_coded_moments_and_stochastic_rounding_stay_on_the_accelerator(self) -> None:
        self.check(CODED)

    def test_keys_are_repeated_where_no_fused_kernel_shares_them(self) -> None:
        model = build_model(self.path, plan_with({}))
        model.device_type = "cuda"
        for capability, low, expected in (((8, 0), None, False), ((8, 0), torch.bfloat16, True), ((7, 5), torch.float16, False)):
            autocast = patch.object(type(model), "compute_dtype", low or torch.float32)
            with autocast, patch("torch.cuda.get_device_capability", lambda capability=capability: capability):
                self.assertEqual(model.has_causal_kernel, expected)
        model.net.config.num_key_value_heads = 4
        self.assertTrue(model.has_causal_kernel)

    def test_masks_lie_where_the_rows_are(self) -> None:
        with Fake():
            batch = lay_out(Tokens(), [[0, 1], [2, 3]], 128, 2).to(self.device)
            for kind in ("sdpa", "eager"):
                self.assertEqual(attention_mask(batch, kind, torch.float32).device, self.device)
            blocks = attention_mask(batch, "flex", torch.float32)
            self.assertEqual({tensor.device for tensor in blocks.as_tuple() if isinstance(tensor, torch.Tensor)}, {self.device})


if __name__ == "__main__":
    unittest.main()
