"""The comm-kernels job: which communication kernels a decode step really runs, and for how long.

Flags and log lines say what was asked for; only a trace says what ran. The trace is taken on a
launch of its own, so that no latency is ever measured on a server that has been profiled.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from evals.client import kept_failure
from evals.comm_kernels.capture.files import FACTS, TRACES, trace_files
from evals.comm_kernels.settings import COMMUNICATION, CommKernelsSettings
from evals.job import Endpoint, JobSettings, Outcome, Progress

__all__ = ["CommKernelsJob", "CommKernelsSettings"]

# nsys takes a second and more to begin, in which a GPU decodes hundreds of tokens; the batch is
# ended when enough steps were traced.
_OUTLASTS_NSYS = 2048


class CommKernelsJob:
    """Traces some decode steps, and says which kernels they ran and for how long."""

    kind: str = "comm-kernels"
    settings_type: type[JobSettings] = CommKernelsSettings
    gated: tuple[str, ...] = COMMUNICATION
    alone: bool = True

    def defaults(self, name: str, settings: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """One launch an arm and layout, where nothing else is said; a gate needs more."""
        lasting = {"output_len": _OUTLASTS_NSYS} if settings.get("capture") == "nsys" else {}
        return {"launches": 1, **lasting, **settings}

    def resolve(self, settings: JobSettings, base: Path) -> CommKernelsSettings:  # noqa: ARG002
        """Nothing to resolve."""
        return _ours(settings)

    def check(self, settings: JobSettings) -> list[str]:
        """See :meth:`evals.job.Job.check`."""
        ours = _ours(settings)
        if ours.output_len < 2 * ours.steps:
            why = f"{ours.output_len} tokens may end before {ours.steps} steps are traced"
            return [f"output_len: {why}; set it to {2 * ours.steps} or more"]
        return []

    def missing(self, settings: JobSettings) -> list[str]:
        """nsys, where the experiment asks for it."""
        if _ours(settings).capture == "nsys" and shutil.which("nsys") is None:
            return ["capture: nsys is not on PATH here; install Nsight Systems, or use torch"]
        return []

    def argv(self, settings: JobSettings, endpoint: Endpoint, cell: Path) -> list[str]:
        """The client, on servegate's own interpreter."""
        return [
            sys.executable,
            "-P",
            "-m",
            "evals.comm_kernels.capture.client",
            "--base-url",
            endpoint.base_url,
            "--settings",
            _ours(settings).model_dump_json(),
            "--out",
            str(cell),
        ]

    def env(self, settings: JobSettings, endpoint: Endpoint) -> dict[str, str]:  # noqa: ARG002
        """Lines in the log as they are printed."""
        return {"PYTHONUNBUFFERED": "1"}

    def progress(self, settings: JobSettings, cell: Path) -> Progress:  # noqa: ARG002
        """Files of ranks."""
        try:
            ranks = int(json.loads((cell / FACTS).read_text(encoding="utf-8"))["ranks"])
        except (OSError, ValueError, KeyError):
            return Progress(done=0, total=1)
        return Progress(done=len(trace_files(cell / TRACES)), total=ranks)

    def read(self, settings: JobSettings, cell: Path, returncode: int) -> Outcome:
        """Ok only with whole traces of all ranks that ran the same communication."""
        if (told := kept_failure(cell)) is not None:
            return Outcome(status="failed", failure_class=told[0], reason=told[1])
        try:
            facts = json.loads((cell / FACTS).read_text(encoding="utf-8"))
            ranks = int(facts["ranks"])
            facts["layers"]
        except (OSError, ValueError, KeyError):
            reason = f"the client ended with exit code {returncode} before it traced anything"
            return Outcome(status="failed", failure_class="no-output", reason=reason)
        files = trace_files(cell / TRACES)
        wanted = 1 if _ours(settings).capture == "nsys" else ranks
        if len(files) != wanted or returncode != 0:
            reason = f"{len(files)} traces, not {wanted}; the client ended with {returncode}"
            return Outcome(status="failed", failure_class="incomplete", reason=reason)
        # numpy and what reads traces: a third of a second that only this pays.
        from evals.comm_kernels.outcome import outcome_of

        return outcome_of(files, facts)


def _ours(settings: JobSettings) -> CommKernelsSettings:
    if not isinstance(settings, CommKernelsSettings):
        raise TypeError(f"expected CommKernelsSettings, got {type(settings).__name__}")
    return settings
