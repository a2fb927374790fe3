"""Where the figures of the README and the docs come from; run as ``python -m benchmarks.NAME``."""
