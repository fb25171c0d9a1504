"""Carries out a fulltune job on PyTorch: the rows, rates and plan come from the launcher, events and checkpoints go back in the forms that it has itself."""

__version__ = "0.1.0"
