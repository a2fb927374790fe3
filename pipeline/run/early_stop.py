"""Watches a job that asks in stages, and tells it to stop once its arm's verdict is decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.accuracy.early_stop import Stop, tell_to_stop
from evals.accuracy.files import Protocol, read_protocol
from evals.files import split_lines
from evals.job import Answer, Mark
from evals.metrics import is_fraction
from pipeline.gate.evidence import (
    Evidence,
)
from pipeline.gate.staged import decisions, design_of, is_over, keeps_floors, why
from pipeline.plan.model import Cell, Launch, Plan
from pipeline.records.folder import CellFolder, RunFolder
from pipeline.records.record import RecordError, Status, read_answers
from pipeline.stats import Design

__all__ = ["StageWatch", "watch"]

_Marks = Sequence[tuple[str, Mark]]


@dataclass(frozen=True, kw_only=True)
class _Reference:
    marks: _Marks
    protocol_digest: str


def watch(plan: Plan, launch: Launch, cell: Cell, folder: RunFolder) -> StageWatch | None:
    """A watch on one cell; None where nothing can be decided while it runs.

    The reference arm is always asked everything: every arm is compared with it, as far as that arm
    goes, and so are its own other layouts.
    """
    if (
        cell.kind != "accuracy"
        or cell.settings.get("stages", 1) < 2
        or launch.arm == plan.reference
    ):
        return None
    gated = [metric for metric in plan.gates.get(cell.job, {}) if is_fraction(metric)]
    reference = _reference(plan, launch, cell.job, folder)
    if not gated or reference is None:
        return None
    return StageWatch(plan, cell, folder.launch(launch.id).cell(cell.job), gated, reference)


def _reference(plan: Plan, launch: Launch, job: str, folder: RunFolder) -> _Reference | None:
    """What the reference answered on the same layout; None where that is not known yet."""
    for other in plan.launches:
        same = (other.layout, other.block, other.arm) == (
            launch.layout,
            launch.block,
            plan.reference,
        )
        if not same or all(cell.job != job for cell in other.cells):
            continue
        place = folder.launch(other.id).cell(job)
        try:
            record = place.load()
            if record is None or record.status is not Status.OK:
                return None
            marks = [(answer.id, answer.mark) for answer in read_answers(place.root)]
        except RecordError:
            return None  # the report says what is wrong with it
        return _Reference(marks=marks, protocol_digest=str(record.details.get("protocol_digest")))
    return None


class StageWatch:
    """Follows the answers of one cell as they are written."""

    def __init__(
        self,
        plan: Plan,
        cell: Cell,
        place: CellFolder,
        gated: Sequence[str],
        reference: _Reference,
    ) -> None:
        self._plan = plan
        self._job = cell.job
        self._place = place
        self._gated = gated
        self._reference = reference
        self._repeats: int = cell.settings["repeats"]
        self._marks: list[tuple[str, Mark]] = []
        self._asked: Counter[str] = Counter()
        self._read = 0
        self._protocol: Protocol | None = None
        self._designs: dict[str, Design] = {}
        self._stage = 0
        self._over = False

    def look(self) -> None:
        """Read what has come since the last look, judge each stage that is whole, stop if it is so.

        The last stage is not looked at: the job ends there by itself.
        """
        if self._over or not self._begun() or not self._news():
            return
        assert self._protocol is not None
        sizes = next(iter(self._designs.values())).sizes
        while not self._over and self._stage + 1 < len(sizes) and self._whole(sizes[self._stage]):
            self._judge(sizes[self._stage])
            self._stage += 1

    def _begun(self) -> bool:
        if self._protocol is None:
            protocol = read_protocol(self._place.root)
            if protocol is None:
                return False
            if protocol.protocol_digest != self._reference.protocol_digest:
                self._over = True  # not comparable, as the report will say; everything is asked
                return False
            self._protocol = protocol
            self._designs = {
                metric: design_of(self._plan, self._job, metric, len(protocol.ids))
                for metric in self._gated
            }
        return True

    def _news(self) -> bool:
        try:
            with self._place.answers.open("rb") as file:
                file.seek(self._read)
                text = file.read()
        except FileNotFoundError:
            return False
        whole = text.rfind(b"\n") + 1
        self._read += whole
        for line in split_lines(text[:whole]):
            answer = Answer.model_validate_json(line)
            self._marks.append((answer.id, answer.mark))
            self._asked[answer.id] += 1
        return whole > 0

    def _whole(self, size: int) -> bool:
        assert self._protocol is not None
        return all(self._asked[key] >= self._repeats for key in self._protocol.ids[:size])

    def _judge(self, size: int) -> None:
        assert self._protocol is not None
        ids = frozenset(self._protocol.ids[:size])
        reference, arm = self._means(self._reference.marks, ids), self._means(self._marks, ids)
        shared = {metric: arm[metric].keys() & reference[metric].keys() for metric in self._gated}
        if not all(shared.values()):
            return  # no request was answered; the cell will be invalid
        made = decisions(
            self._designs,
            self._stage,
            {metric: _only(reference[metric], shared[metric]) for metric in self._gated},
            {metric: _only(arm[metric], shared[metric]) for metric in self._gated},
        )
        gates = self._plan.gates[self._job]
        if is_over(made) and keeps_floors(made, gates, self._designs, self._stage, arm):
            self._over = True
            stop = Stop(stage=self._stage, questions=size, reason=why(made))
            tell_to_stop(self._place.root, stop)

    def _means(self, marks: _Marks, ids: frozenset[str]) -> dict[str, Mapping[str, float]]:
        kept = [pair for pair in marks if pair[0] in ids]
        side = Evidence(records=[], gap="", marks=[kept])
        return {metric: side.question_means(metric) for metric in self._gated}


def _only(means: Mapping[str, float], ids: set[str]) -> dict[str, float]:
    return {key: means[key] for key in ids}
