"""
`python run_jobs.py JOB…` or under torchrun: several jobs for one number of ranks in one process, so that checks import torch once. Not part of the
package. Ends with 1 after the first job that fails.
"""

import sys
import traceback
from pathlib import Path

from fulltune_worker.events import Events
from fulltune_worker.job import load_job
from fulltune_worker.parallel import join_ranks
from fulltune_worker.signs import Signs
from fulltune_worker.train import Run


def main(paths: list[str]) -> int:
    jobs = [load_job(Path(path)) for path in paths]
    plans = [job.plan for job in jobs]
    ranks = join_ranks(next((plan for plan in plans if plan.sharding != "none"), plans[0]), "cpu", 200)
    for job in jobs:
        events = Events(job.paths.events if ranks.first else None)
        try:
            Run(job, ranks, Signs(job, ranks.rank), events).train()
        except Exception:
            print(f"rank {ranks.rank}, {job.paths.run_directory}", file=sys.stderr)
            traceback.print_exc()
            if ranks.world_size > 1:
                return 1
        finally:
            events.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
