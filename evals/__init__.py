"""What is asked of a server and how it is marked: jobs by kind, each run as its own process."""

from evals.accuracy.job import AccuracyJob
from evals.comm_kernels import CommKernelsJob
from evals.job import Job
from evals.latency.job import LatencyJob
from evals.logprobs.job import LogprobsJob

__all__ = ["JOBS"]

JOBS: dict[str, Job] = {
    "accuracy": AccuracyJob(),
    "latency": LatencyJob(),
    "logprobs": LogprobsJob(),
    "comm-kernels": CommKernelsJob(),
}
