"""From the kernels of a trace to communication times of a decode step."""
