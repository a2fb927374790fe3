"""What the machine has: GPUs, ranks, the engine's flags and its host."""
