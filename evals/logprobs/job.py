"""The logprobs job: does a change of communication change more than the last digits?

Scores see little of a small numeric fault, log-probabilities of given texts see it at once. Only
decode goes through the operations that attention DP and MixedComm replace (SGLang 0.5.23 gathers a
prefill batch with one all-reduce), so each text is continued greedily for some steps: at a step
that two arms reached over the same tokens, both computed the same function, and what differs is
rounding, or a fault.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from evals.files import DataError
from evals.job import Endpoint, JobSettings, Outcome, Progress
from evals.logprobs.trails import TRAILS, LogprobsSettings, load_texts, read_cell

__all__ = ["LogprobsJob", "LogprobsSettings"]


class LogprobsJob:
    """Asks for log-probabilities through SGLang's /generate and keeps all of them."""

    kind: str = "logprobs"
    settings_type: type[JobSettings] = LogprobsSettings
    gated: tuple[str, ...] = ("logprob_shift",)
    alone: bool = False

    def defaults(self, name: str, settings: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Nothing follows from the job's name."""
        return dict(settings)

    def resolve(self, settings: JobSettings, base: Path) -> LogprobsSettings:
        """The data file made absolute against `base`."""
        ours = _ours(settings)
        if ours.data is None:
            return ours
        path = (base / Path(ours.data).expanduser()).resolve()
        return ours.model_copy(update={"data": str(path)})

    def check(self, settings: JobSettings) -> list[str]:
        """See :meth:`evals.job.Job.check`."""
        try:
            load_texts(_ours(settings).data)
        except DataError as error:
            return [f"data: {error}"]
        return []

    def missing(self, settings: JobSettings) -> list[str]:  # noqa: ARG002
        """Nothing but the file that :meth:`check` reads."""
        return []

    def argv(self, settings: JobSettings, endpoint: Endpoint, cell: Path) -> list[str]:
        """The client, on servegate's own interpreter."""
        return [
            sys.executable,
            "-P",
            "-m",
            "evals.logprobs.client",
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

    def progress(self, settings: JobSettings, cell: Path) -> Progress:
        """One line of the file is one text asked once."""
        ours = _ours(settings)
        total = len(load_texts(ours.data)) * ours.repeats
        try:
            done = (cell / TRAILS).read_bytes().count(b"\n")
        except OSError:
            done = 0
        return Progress(done=done, total=total)

    def read(self, settings: JobSettings, cell: Path, returncode: int) -> Outcome:
        """Ok only when every text was answered in full, as often as asked."""
        ours = _ours(settings)
        return read_cell(
            cell,
            returncode,
            texts=load_texts(ours.data),
            repeats=ours.repeats,
            settings=ours.model_dump(mode="json"),
        )


def _ours(settings: JobSettings) -> LogprobsSettings:
    if not isinstance(settings, LogprobsSettings):
        raise TypeError(f"expected LogprobsSettings, got {type(settings).__name__}")
    return settings
