"""Which parameters have coded moments. Nothing is updated here: torchao compiles its update, which takes long."""

import importlib.util
import json
import unittest
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from fulltune_worker.optimizers import InBackward, make_optimizers
from fulltune_worker.plan import Optimizer, Plan, read_plan

FIXTURES = Path(__file__).parent / "fixtures"


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(64, 64)
        self.matrix = nn.Linear(64, 64)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)


def plan_with(kind: str, embeddings: bool, in_backward: bool = False) -> Plan:
    plan = read_plan(json.loads((FIXTURES / "job.json").read_text(encoding="utf-8"))["plan"])
    return replace(plan, optimizer=Optimizer(kind, 0.1, 0.9, 0.999, 1e-8, embeddings=embeddings), in_backward=in_backward)


@unittest.skipIf(importlib.util.find_spec("torchao") is None, "torchao is not installed")
class CodedMoments(unittest.TestCase):
    def names_by_optimizer(self, kind: str, embeddings: bool, in_backward: bool = False) -> dict[str, set[str]]:
        model = Tiny()
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        optimizers = make_optimizers(model, plan_with(kind, embeddings, in_backward), torch.device("cpu"))
        self.assertEqual(isinstance(optimizers, InBackward), in_backward)
        found: dict[str, set[str]] = {}
        for member in optimizers.members:
            for group in member.param_groups:
                self.assertEqual(group["weight_decay"], 0.1 if group["params"][0].ndim >= 2 else 0.0)
                found.setdefault(type(member).__name__, set()).update(names[id(parameter)] for parameter in group["params"])
        return found

    def test_four_bits_are_for_matrices_and_embeddings(self) -> None:
        for in_backward in (False, True):
            self.assertEqual(
                self.names_by_optimizer("adamw_4bit", False, in_backward),
                {"AdamW4bit": {"embedding.weight", "matrix.weight"}, "AdamW": {"matrix.bias"}},
            )

    def test_eight_bits_are_for_matrices_and_for_embeddings_where_the_plan_says_so(self) -> None:
        for in_backward in (False, True):
            self.assertEqual(
                self.names_by_optimizer("adamw_8bit", False, in_backward),
                {"AdamW8bit": {"matrix.weight"}, "AdamW": {"embedding.weight", "matrix.bias"}},
            )
            self.assertEqual(
                self.names_by_optimizer("adamw_8bit", True, in_backward),
                {"AdamW8bit": {"embedding.weight", "matrix.weight"}, "AdamW": {"matrix.bias"}},
            )


if __name__ == "__main__":
    unittest.main()
