"""Taking a trace of a serving engine: torch's profiler or Nsight Systems."""
