"""Rounding, momentum, loss scale and loss, by themselves."""

import unittest

import torch

from fulltune_worker.errors import NotFiniteError
from fulltune_worker.lion import Lion, Sgd
from fulltune_worker.loss import summed_loss
from fulltune_worker.loss_scale import LossScale
from fulltune_worker.parallel import Parallel
from fulltune_worker.stochastic import store


class Numbers(unittest.TestCase):
    def test_stochastic_rounding_is_right_in_the_mean(self) -> None:
        torch.manual_seed(1)
        value = torch.full((100_000,), 1 + 2**-10)
        target = torch.empty_like(value, dtype=torch.bfloat16)
        store(target, value)
        self.assertEqual(sorted(set(target.tolist())), [1.0, 1.0078125])
        self.assertAlmostEqual(target.double().mean().item(), 1 + 2**-10, delta=5e-5)

    def test_momentum_of_bf16_parameters_comes_back_in_f32(self) -> None:
        for make in (lambda groups: Lion(groups, 1e-3, (0.9, 0.99)), lambda groups: Sgd(groups, 1e-3, 0.9), lambda groups: Sgd(groups, 1e-3, 0.0)):
            torch.manual_seed(3)
            parameter = torch.nn.Parameter(torch.randn(5, dtype=torch.bfloat16))
            parameter.grad = torch.randn(5, dtype=torch.bfloat16)
            before, after = make([{"params": [parameter]}]), make([{"params": [parameter]}])
            before.step()
            after.load_state_dict(before.state_dict())
            kept, loaded = [optimizer.state[parameter].get("momentum") for optimizer in (before, after)]
            if kept is not None:
                torch.testing.assert_close(loaded, kept, rtol=0, atol=0)
            after.step()

    def test_norm_of_bf16_gradients_is_f32(self) -> None:
        torch.manual_seed(4)
        parallel = object.__new__(Parallel)
        parallel.module = torch.nn.Sequential(torch.nn.Linear(40, 30), torch.nn.Linear(30, 20)).to(torch.bfloat16)
        for parameter in parallel.module.parameters():
            parameter.grad = torch.randn_like(parameter)
        exact = torch.cat([parameter.grad.double().flatten() for parameter in parallel.module.parameters()]).norm()
        norm = parallel.gradient_norm()
        self.assertEqual(norm.dtype, torch.float32)
        torch.testing.assert_close(norm.double(), exact, rtol=1e-6, atol=0)

    def test_loss_scale_halves_and_goes_on(self) -> None:
        scale = LossScale(True, None)
        self.assertFalse(scale.accepts(1.0, float("inf")))
        self.assertEqual(scale.state, {"scale": 32768.0, "goodSteps": 0, "skipped": 1})
        self.assertTrue(scale.accepts(1.0, 1.0))
        self.assertRaises(NotFiniteError, scale.accepts, float("nan"), 1.0)
        self.assertRaises(NotFiniteError, LossScale(False, None).accepts, 1.0, float("nan"))

    def test_slices_give_the_same_loss_and_gradients(self) -> None:
        torch.manual_seed(2)
        hidden, weight = torch.randn(7, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
        labels = torch.tensor([1, -100, 3, 8, 0, -100, 2])
        results = []
        for chunk in (None, 3):
            loss = summed_loss(hidden, weight, None, labels, chunk)
            results.append([loss, *torch.autograd.grad(loss, [hidden, weight])])
        for whole, sliced in zip(*results, strict=True):
            torch.testing.assert_close(whole, sliced)


if __name__ == "__main__":
    unittest.main()
