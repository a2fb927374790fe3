"""Latency jobs: SGLang's serving benchmark, and what its files say."""
