"""Errors whose text is for the user, and the exit codes that tell the launcher what kind of end it was."""

USER_MISTAKE = 2
"""The job, the files or what is installed cannot be used: the message says why."""

OUT_OF_MEMORY = 75
"""The device or the machine had less memory than the step needs."""


class JobError(Exception):
    """A mistake in job, files or installation. `remedy` says what to do next."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class NotFiniteError(Exception):
    """Loss or gradients are infinite or NaN, and no other loss scale would help."""


class MissingPackageError(JobError):
    """An optional package that the plan asks for is not installed."""

    def __init__(self, package: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which this Python does not have", f"Install it: python -m pip install {package}")
