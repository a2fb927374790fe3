"""Made-up nights: whole run folders whose records, facts and times a test chooses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.plan.model import Plan
from pipeline.records.facts import Facts
from pipeline.records.folder import RunFolder
from tests.pipeline.builders import (
    MadeRun,
    MarkOf,
    SpeedOf,
    all_alike,
    make_plan_for_test,
    make_run,
    same_speed,
)

FIRST = datetime(2026, 10, 1, 3, 0, tzinfo=UTC)

# Nights differ by themselves, a third of a per cent; the same on every machine.
_NIGHTS = (0.0, 0.003, -0.002, 0.004, -0.004, 0.001, -0.001, 0.002, -0.003, 0.0)

FACTS: dict[str, Any] = {
    "arguments": {"attention_backend": "fa3", "max_total_num_tokens": 1000},
    "environment": {"NCCL_DEBUG": "WARN"},
    "rank_environment": {},
    "packages": {"sglang": "0.5.23", "torch": "2.9.0"},
    "libraries": {"libnccl.so.2": "2.27"},
    "machine": {"host": "node-1", "cores": 8},
    "gpu": {"driver": "580.1", "cuda": "13.0", "gpus": [{"name": "H200", "uuid": "GPU-1"}]},
}


def small_plan(**changes: Any) -> Plan:
    """Two arms, one layout, a score and an ITL that are gated by 3 %."""
    return make_plan_for_test(dps=(2,), **changes)


def make_night(
    number: int,
    runs: Path,
    *,
    plan: Plan | None = None,
    speed: SpeedOf = same_speed,
    mark: MarkOf = all_alike,
    facts: dict[str, Any] | None = None,
    change: Callable[[MadeRun], None] | None = None,
) -> RunFolder:
    """The run folder of one night.

    Args:
        number: Of the night, from 0.
        runs: Where it goes.
        plan: Its plan; None: the small one.
        speed: Factor on top of what nights differ by.
        mark: Marks of answers.
        facts: Parts of the facts to replace.
        change: Changes the run before it is written.
    """
    own = _NIGHTS[number % len(_NIGHTS)]
    made = make_run(
        plan or small_plan(),
        speed=lambda arm, dp, metric: (1 + own) * speed(arm, dp, metric),
        mark=mark,
    )
    known = Facts.model_validate({**FACTS, **(facts or {})})
    made.facts = {launch.id: known for launch in made.plan.launches}
    start = FIRST + timedelta(days=number)
    for cell in made.records:
        made.change(cell, started_at=start.isoformat(timespec="milliseconds"))
    if change is not None:
        change(made)
    return made.write(runs)
