"""Golden numbers of optimizers: a few updates of a small matrix and a small vector in f64, from torch.optim and transformers.

  python tools/goldens/optimizers_goldens.py --write      writes test/goldens/optimizers.json
  python tools/goldens/optimizers_goldens.py --check      fails when the stored file is not what comes out today (within 1e-12)

Lion has no implementation in either; its formula (Chen et al. 2023, algorithm 2) is written out here.
"""

import argparse
import json
import os
import platform
import sys

import torch
import transformers
from transformers.optimization import Adafactor

PATH = os.path.join(os.path.dirname(__file__), "..", "..", "test", "goldens", "optimizers.json")
STEPS, SEED, RATE = 5, 31, 0.02
SHAPES = ([6, 5], [7])


class Lion(torch.optim.Optimizer):
    def __init__(self, parameters, lr, betas, weight_decay):
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                direction = (beta1 * m + (1 - beta1) * p.grad).sign()
                p.copy_(p - group["lr"] * (direction + group["weight_decay"] * p))
                m.copy_(beta2 * m + (1 - beta2) * p.grad)


def adafactor(parameters, decay, beta1):
    return Adafactor(parameters, lr=RATE, beta1=beta1, weight_decay=decay, scale_parameter=False, relative_step=False, clip_threshold=1.0, decay_rate=-0.8)


# Name → the choice as a training plan has it, and how to make it here. Weight decay is left out for the vector, as everywhere.
CASES = {
    "adamw": ({"kind": "adamw", "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weightDecay": 0.1},
              lambda p, decay: torch.optim.AdamW(p, lr=RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=decay)),
    "sgd": ({"kind": "sgd", "momentum": 0.9, "weightDecay": 0.1}, lambda p, decay: torch.optim.SGD(p, lr=RATE, momentum=0.9, weight_decay=decay)),
    "sgd without momentum": ({"kind": "sgd", "momentum": 0, "weightDecay": 0.1}, lambda p, decay: torch.optim.SGD(p, lr=RATE, weight_decay=decay)),
    "lion": ({"kind": "lion", "beta1": 0.9, "beta2": 0.99, "weightDecay": 0.1}, lambda p, decay: Lion(p, RATE, (0.9, 0.99), decay)),
    "adafactor": ({"kind": "adafactor", "beta1": 0, "weightDecay": 0.1}, lambda p, decay: adafactor(p, decay, None)),
    "adafactor with a first moment": ({"kind": "adafactor", "beta1": 0.9, "weightDecay": 0.1}, lambda p, decay: adafactor(p, decay, 0.9)),
}


def numbers():
    generator = torch.Generator().manual_seed(SEED)

    def draw(shape, size):
        return (torch.randn(shape, generator=generator) * size).to(torch.float32).to(torch.float64)

    starts = [draw(shape, 1.0) for shape in SHAPES]
    # Of sizes from far below to far above 1, so that the update is clipped in some steps; a row and a column are zero in all of them.
    gradients = [[draw(shape, 10.0 ** (step - 2)) for step in range(STEPS)] for shape in SHAPES]
    for gradient in gradients[0]:
        gradient[2, :] = 0
        gradient[:, 3] = 0
    cases = {}
    for name, (choice, make) in CASES.items():
        after = []
        for start, steps in zip(starts, gradients):
            parameter = torch.nn.Parameter(start.clone())
            optimizer = make([parameter], choice["weightDecay"] if parameter.dim() >= 2 else 0.0)
            values = []
            for gradient in steps:
                parameter.grad = gradient.clone()
                optimizer.step()
                values.append(parameter.detach().flatten().tolist())
            after.append(values)
        cases[name] = {"choice": choice, "after": after}
    return {
        "learningRate": RATE, "shapes": list(SHAPES), "starts": [start.flatten().tolist() for start in starts],
        "gradients": [[gradient.flatten().tolist() for gradient in steps] for steps in gradients], "cases": cases,
    }


def differences(a, b):
    if isinstance(a, dict):
        return [d for key in a for d in differences(a[key], b[key])] if a.keys() == b.keys() else [1.0]
    if isinstance(a, list):
        return [d for x, y in zip(a, b) for d in differences(x, y)] if len(a) == len(b) else [1.0]
    return [abs(a - b)] if isinstance(a, (int, float)) else [float(a != b)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    if arguments.write:
        provenance = {
            "command": "python tools/goldens/optimizers_goldens.py --write", "python": platform.python_version(), "torch": torch.__version__,
            "transformers": transformers.__version__, "seed": SEED, "dtype": "float64",
        }
        with open(PATH, "w") as file:
            json.dump({"provenance": provenance, **numbers()}, file, indent=1)
            file.write("\n")
    elif arguments.check:
        with open(PATH) as file:
            stored = json.load(file)
        del stored["provenance"]
        largest = max(differences(numbers(), stored))
        if not largest <= 1e-12:
            sys.exit(f"test/goldens/optimizers.json: a number differs by {largest:.3e}, allowed 1e-12")
        print(f"optimizers: {len(CASES)} cases, largest difference {largest:.3e}")
    else:
        parser.error("give --write or --check")


if __name__ == "__main__":
    main()
