"""Takes what servegate needs to a GPU host without a network and measures there (docs/gpu.md)."""
