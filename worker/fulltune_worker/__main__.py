"""`python -m fulltune_worker JOB`, once per rank. Ends with 0, 2 for a mistake, 75 when memory ran out, 1 for a bug."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from .errors import USER_MISTAKE, JobError
from .job import load_job


def main(argv: list[str]) -> int:
    if len(argv) != 2:
        print("usage: python -m fulltune_worker JOB", file=sys.stderr)
        return USER_MISTAKE
    try:
        job = load_job(Path(argv[1]))
    except JobError as error:
        print(f"fulltune_worker: {error}\n  {error.remedy}", file=sys.stderr)
        return USER_MISTAKE
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from .rank import run_rank

    return run_rank(job)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv))
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
