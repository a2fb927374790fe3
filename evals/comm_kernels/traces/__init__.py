"""Reading trace files of either profiler into one table of kernels."""
