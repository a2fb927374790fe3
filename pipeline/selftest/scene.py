"""What cases beside the matrix are made from: a levelled run, a row, and the gates there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evals.metrics import METRICS
from pipeline.gate.evidence import asks
from pipeline.gate.model import Verdict
from pipeline.selftest.matrix import Gated, narrowed
from pipeline.selftest.stored import Case, Expected, Place, Stored

__all__ = ["Scene"]

Verdicts = tuple[Verdict, ...]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A run to inject faults into.

    Attributes:
        base: Levelled: every arm repeats the reference.
        place: The row of the arm.
        gates: The plan's gates, at that place.
    """

    base: Stored
    place: Place
    gates: Sequence[Gated]

    @property
    def reference(self) -> Place:
        """The reference's row on the same layout."""
        return Place(self.place.layout, self.base.plan.reference)

    @property
    def fine(self) -> Verdicts:
        """What equal arms may give: a run's own records may not suffice for a pass."""
        return (Verdict.PASS,) if self.base.strict else (Verdict.PASS, Verdict.INCONCLUSIVE)

    @property
    def speed(self) -> Gated | None:
        """The first gate on a speed, launch by launch."""
        return next((one for one in self.gates if not asks(one.metric)), None)

    @property
    def latency(self) -> Gated | None:
        """The first gate on what a benchmark's client measured."""
        kinds = {name: job["kind"] for name, job in self.base.plan.jobs.items()}
        return next((one for one in self.gates if kinds[one.job] == "latency"), None)

    @property
    def score(self) -> Gated | None:
        """The first gate on a score of a job that is asked at once."""
        return next((one for one in self.gates if one.metric == "score" and self._whole(one)), None)

    @property
    def shift(self) -> Gated | None:
        """The gate on log-probabilities."""
        return next((one for one in self.gates if METRICS[one.metric].compared_as == "shift"), None)

    def _whole(self, one: Gated) -> bool:
        return int(self.base.plan.jobs[one.job].get("stages", 1)) == 1

    def narrow(self, one: Gated, *more: Gated) -> Stored:
        """The run with these gates alone."""
        return narrowed(self.base, one, *more)

    def case(  # noqa: PLR0913 - one for each thing that a case says
        self,
        name: str,
        stored: Stored,
        injected: str,
        *,
        of: Gated | None = None,
        at: Place | None = None,
        against: str = "reference",
        check: Verdicts = (),
        row: Verdicts = (),
        run: Verdicts = (),
        others: Verdicts = (),
        headline: str = "",
    ) -> Case:
        """A case at the scene's place, or another."""
        return Case(
            name=name,
            job="" if of is None else of.job,
            metric="" if of is None else of.metric,
            against=against,
            place=self.place if at is None else at,
            stored=stored,
            expected=Expected(check=check, row=row, run=run, others=others, headline=headline),
            injected=injected,
        )
