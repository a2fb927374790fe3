"""A sweep is one job a point, named by its point."""

from __future__ import annotations

import pytest

from evals.latency.settings import points

BASE = {"kind": "latency", "runs": 3}


def test_a_sweep_is_every_combination_the_concurrency_fastest() -> None:
    sweep = {"input_len": [1024, 8192], "concurrency": [1, 16]}
    made = points("latency", {**BASE, "output_len": 24, "sweep": sweep})
    assert list(made) == [
        "latency-1024-24-1", "latency-1024-24-16", "latency-8192-24-1", "latency-8192-24-16",
    ]  # fmt: skip
    assert made["latency-8192-24-1"] == {
        **BASE, "input_len": 8192, "output_len": 24, "concurrency": 1,
    }  # fmt: skip


def test_an_axis_that_is_not_swept_keeps_its_value_or_its_default() -> None:
    made = points("load", {**BASE, "input_len": 512, "sweep": {"concurrency": [8]}})
    assert list(made) == ["load-512-256-8"]


def test_without_a_sweep_the_job_is_itself() -> None:
    job = {**BASE, "input_len": 1}
    assert points("latency", job) == {"latency": job}


def test_an_axis_said_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="input_len is given and swept"):
        points("latency", {**BASE, "input_len": 1, "sweep": {"input_len": [1, 2]}})
