"""Every shared case is accepted or refused here as `src/torch/job-schema.test.ts` accepts or refuses it."""

import copy
import json
import unittest
from pathlib import Path

from fulltune_worker.errors import JobError
from fulltune_worker.job import read_job

FIXTURES = Path(__file__).parent / "fixtures"


def changed(job: dict, case: dict) -> dict:
    result = copy.deepcopy(job)
    for path in [*case["set"], *case.get("remove", [])]:
        *parents, last = path.split(".")
        place = result
        for key in parents:
            place = place[key]
        if path in case["set"]:
            place[last] = case["set"][path]
        else:
            del place[last]
    return result


class JobCases(unittest.TestCase):
    def test_shared_cases(self) -> None:
        job = json.loads((FIXTURES / "job.json").read_text())
        for case in json.loads((FIXTURES / "cases.json").read_text()):
            with self.subTest(case["name"]):
                if case["accepted"]:
                    self.assertEqual(read_job(changed(job, case)).model.flops_per_token, 1e6)
                else:
                    self.assertRaises(JobError, read_job, changed(job, case))

    def test_errors_name_the_place(self) -> None:
        job = json.loads((FIXTURES / "job.json").read_text())
        job["plan"]["batch"]["microBatchSize"] = -1
        with self.assertRaisesRegex(JobError, "plan.batch.microBatchSize is -1"):
            read_job(job)


if __name__ == "__main__":
    unittest.main()
