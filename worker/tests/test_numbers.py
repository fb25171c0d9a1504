"""Rounding, loss scale and loss, by themselves."""

import unittest

import torch

from fulltune_worker.errors import NotFiniteError
from fulltune_worker.loss import summed_loss
from fulltune_worker.loss_scale import LossScale
from fulltune_worker.stochastic import store


class Numbers(unittest.TestCase):
    def test_stochastic_rounding_is_right_in_the_mean(self) -> None:
        torch.manual_seed(1)
        value = torch.full((100_000,), 1 + 2**-10)
        target = torch.empty_like(value, dtype=torch.bfloat16)
        store(target, value)
        self.assertEqual(sorted(set(target.tolist())), [1.0, 1.0078125])
        self.assertAlmostEqual(target.double().mean().item(), 1 + 2**-10, delta=5e-5)

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
