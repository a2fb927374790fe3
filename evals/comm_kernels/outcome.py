"""What the traces of a cell say, as the outcome of the job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evals.comm_kernels.analysis import Known, matched
from evals.comm_kernels.counts import count
from evals.comm_kernels.files import TRACES
from evals.comm_kernels.table import TraceError
from evals.comm_kernels.times import timed
from evals.job import Outcome

__all__ = ["outcome_of"]


def outcome_of(files: Sequence[Path], facts: Mapping[str, Any]) -> Outcome:
    """Ok only where all ranks of the server ran the same communication in every step.

    Args:
        files: Traces of all ranks.
        facts: What the client kept of the server: ``ranks``, ``layers``, and of its layout
            ``attention_dp`` and ``ep`` (not in cells of before it was asked).
    """
    try:
        table, found = matched(files)
        if len(table.ranks) != facts["ranks"]:
            raise TraceError(
                f"the trace has {len(table.ranks)} of the server's {facts['ranks']} ranks"
            )
    except TraceError as error:
        return Outcome(status="invalid", failure_class="trace", reason=str(error))
    kernels = count(table, found)
    metrics, times = timed(table, found, _known(facts))
    return Outcome(
        status="ok",
        metrics=metrics,
        counts={key: kernels[key] for key in ("ranks", "steps", "skipped_steps", "kernels")},
        details={"kernels": {**kernels, "layers": facts["layers"]}, "times": times},
        artifacts={path.name: f"{TRACES}/{path.name}" for path in files},
    )


def _known(facts: Mapping[str, Any]) -> Known:
    if "attention_dp" not in facts:
        return Known(layers=facts["layers"])
    attention_dp = int(facts["attention_dp"])
    return Known(
        attention_tp=max(1, int(facts["ranks"]) // attention_dp),
        attention_dp=attention_dp,
        ep=int(facts["ep"]),
        layers=facts["layers"],
    )
