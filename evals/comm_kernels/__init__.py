"""Which communication kernels a decode step runs, from traces of SGLang's own profiler."""

from evals.comm_kernels.job import CommKernelsJob, CommKernelsSettings

__all__ = ["CommKernelsJob", "CommKernelsSettings"]
