"""What the records of one arm, layout and job give to judge, or why they give nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import Literal, NamedTuple

from evals.job import Answer, Mark
from evals.latency.checks import unseen_tokens
from evals.latency.client_load import STARVED, kept_problem
from evals.logprobs.trails import Trail
from evals.metrics import METRICS, is_fraction
from pipeline.experiment.gates import Gate
from pipeline.gate.model import Check, Verdict
from pipeline.plan.model import LayoutKey, Plan
from pipeline.records.record import Record, RecordError, Status


class Marked(NamedTuple):
    """Of an answer, what is judged."""

    id: str
    mark: Mark


Answers = Callable[[Record], Sequence[Answer | Marked]]
Trails = Callable[[Record], Sequence[Trail]]
Key = tuple[LayoutKey, str, str]
"""Layout, arm, job."""

# Which mark of an answer a metric counts; every one in servegate's table of fractions.
_MARKS = {
    "score": "correct",
    "no_answer_rate": "no_answer",
    "truncated_rate": "truncated",
    "error_rate": "error",
}

# Records that differ in one of these were asked other questions, or in another way.
_DIGESTS = ("ids_digest", "protocol_digest")


def asks(metric: str) -> bool:
    """True for what tells whether answers are right: fractions, and shifts of log-probabilities."""
    return is_fraction(metric) or METRICS[metric].compared_as == "shift"


def problem_of(record: Record | None) -> tuple[str, str, str] | None:
    """Status, class and reason of a cell that must not count; None if it may."""
    if record is None:
        return "not run", "", "has no record"
    if record.status is not Status.OK:
        return record.status.value, record.failure_class, record.reason
    if (found := unfit(record)) is not None:
        return Status.INVALID.value, *found
    wrong = [f"{p.name}: {p.detail}" for p in record.premises if p.state == "disproved"]
    return (Status.INVALID.value, "premise", "; ".join(wrong)) if wrong else None


def unfit(record: Record) -> tuple[str, str] | None:
    """Class and reason why a record of a latency job that is ok should not be; None if it should.

    An older servegate looked at totals only; what it kept says more.
    """
    if record.kind != "latency":
        return None
    if (unseen := unseen_tokens(record.counts)) is not None:
        return unseen.failure_class, unseen.reason
    dropped = int(record.details.get("dropped_runs", 0))
    starved = kept_problem(record.details.get("client_load", [])[dropped:])
    return (STARVED, starved) if starved else None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One arm on one layout in one job.

    Attributes:
        records: The ok records, in block order.
        gap: Why the planned records are not all there; "" if they are.
        gap_cell: The cell that the gap names; "" where there is no gap.
        marks: Question id and mark of each answer, record by record, for jobs that ask questions.
            Their texts are not kept: a night's worth of long answers would fill the memory.
        trails: What the logprobs job kept, record by record.
        differs: What nobody declared and the launches do not share with the reference; "" if
            nothing.
    """

    records: Sequence[Record]
    gap: str
    marks: Sequence[Sequence[tuple[str, Mark]]]
    trails: Sequence[Sequence[Trail]] = ()
    differs: str = ""
    gap_cell: str = ""
    _means: dict[str, Mapping[str, float]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    def question_means(self, metric: str) -> Mapping[str, float]:
        """Mean of a fraction over all repeats and launches, by question id.

        A request that failed is no wrong answer: it is left out of a score, and a question of which
        nothing else is there has no score.
        """
        if metric not in self._means:
            wanted = _MARKS[metric]
            samples: dict[str, int] = defaultdict(int)
            hits: dict[str, int] = defaultdict(int)
            for question, mark in (pair for cell in self.marks for pair in cell):
                if mark != "error" or metric != "score":
                    samples[question] += 1
                    hits[question] += mark == wanted
            self._means[metric] = {key: hits[key] / count for key, count in samples.items()}
        return self._means[metric]

    def stopped(self) -> int | None:
        """After how many questions a job in stages was told to stop; None: it was not."""
        for record in self.records:
            if (stop := record.details.get("stopped")) is not None:
                questions: int = stop["questions"]
                return questions
        return None

    def questions(self) -> set[str]:
        """Ids of all questions that were asked and count."""
        return {question for cell in self.marks for question, _ in cell}

    def within(self, other: Evidence) -> Evidence:
        """This side on the questions that the other one was asked."""
        ids = other.questions()
        return replace(
            self, marks=[[pair for pair in cell if pair[0] in ids] for cell in self.marks]
        )

    def in_blocks_of(self, other: Evidence) -> Evidence:
        """This side on the blocks that the other one has; for jobs without questions."""
        blocks = {record.block for record in other.records}
        if not blocks:
            return self
        return replace(self, records=[one for one in self.records if one.block in blocks])

    def repeats(self) -> int:
        """Samples of the question that was asked most often."""
        asked = Counter(question for cell in self.marks for question, _ in cell)
        return max(asked.values(), default=0)

    def launch_values(self, metric: str) -> dict[int, float]:
        """The metric's value of each launch that has one, by block."""
        return {
            record.block: value
            for record in self.records
            if (value := record.metrics.get(metric)) is not None and isfinite(value)
        }

    def run_values(self, metric: str) -> dict[int, list[float]]:
        """The metric's value of each run that counts, by block; else the launch's own."""
        found: dict[int, list[float]] = {}
        values = self.launch_values(metric)
        for record in self.records:
            counting = record.runs[int(record.details.get("dropped_runs", 0)) :]
            runs = [run[metric] for run in counting if run.get(metric, 0.0) > 0]
            if record.block in values:
                found[record.block] = runs or [values[record.block]]
        return found

    def gap_of(self, metric: str) -> str:
        """Why this metric cannot be judged; "" if it can."""
        if self.gap:
            return self.gap
        if is_fraction(metric):
            if any(not cell for cell in self.marks) or not self.question_means(metric):
                return "no question was answered"
            return ""
        if METRICS[metric].compared_as == "shift":
            return "" if self.trails and all(self.trails) else "no log-probability was kept"
        without = [r.launch for r in self.records if not 0 < r.metrics.get(metric, 0.0) < inf]
        return f"no positive value in the record of {', '.join(without)}" if without else ""


def collect(
    plan: Plan, records: Iterable[Record], answers: Answers, trails: Trails
) -> dict[Key, Evidence]:
    """Evidence for every layout, arm and job that the plan has cells for."""
    found = {record.cell: record for record in records}
    cells: dict[Key, list[tuple[str, Record | None]]] = defaultdict(list)
    for launch in plan.launches:
        for cell in launch.cells:
            cells[launch.layout, launch.arm, cell.job].append((cell.id, found.get(cell.id)))
    return {key: _evidence(planned, answers, trails) for key, planned in cells.items()}


def _evidence(
    planned: Sequence[tuple[str, Record | None]], answers: Answers, trails: Trails
) -> Evidence:
    good: list[tuple[Record, Sequence[Trail]]] = []
    marks: list[Sequence[tuple[str, Mark]]] = []
    gaps: list[tuple[str, str]] = []
    for cell, record in planned:
        problem = problem_of(record)
        if problem is not None or record is None:
            status, failure, reason = problem if problem is not None else ("not run", "", "")
            gaps.append((cell, f"{cell} {status}{f' ({failure})' if failure else ''}: {reason}"))
            continue
        walked: Sequence[Trail] = ()
        try:
            if any(is_fraction(metric) for metric in record.metrics if metric in METRICS):
                marks.append([(answer.id, answer.mark) for answer in answers(record)])
            if record.kind == "logprobs":
                walked = trails(record)
        except RecordError as error:
            gaps.append((cell, f"{cell}: {error}"))
            continue
        good.append((record, walked))
    good.sort(key=lambda pair: pair[0].block)
    return Evidence(
        records=[record for record, _ in good],
        gap=_gap([gap for _, gap in gaps], len(planned)),
        gap_cell=gaps[0][0] if gaps else "",
        marks=marks,
        trails=[walked for record, walked in good if record.kind == "logprobs"],
    )


def _gap(gaps: Sequence[str], planned: int) -> str:
    if not gaps:
        return ""
    more = f" (and {len(gaps) - 1} more)" if len(gaps) > 1 else ""
    if len(gaps) == planned:
        return f"{gaps[0]}{more}"
    return (
        f"{len(gaps)} of {planned} planned records do not count, so the rest is not judged: "
        f"{gaps[0]}{more}"
    )


def incomparable(one: Evidence, other: Evidence, metric: str) -> str:
    """Why two sides must not be compared; "" if they may."""
    records = [*one.records, *other.records]
    settings: Mapping[str, object] = records[0].settings
    for record in records[1:]:
        if record.settings == settings:
            continue
        names = settings.keys() | record.settings.keys()
        differing = sorted(n for n in names if settings.get(n) != record.settings.get(n))
        if differing:
            return f"not comparable: settings differ in {', '.join(differing)}"
    if not asks(metric):
        return ""
    if otherwise := _asked_otherwise(records):
        return f"not comparable: {otherwise}"
    ids = [side.questions() for side in (one, other)]
    if one.stopped() is not None or other.stopped() is not None:
        # Asked in one order: whoever was stopped first has the fewer of the same questions.
        fewer, more = sorted(ids, key=len)
        differing_ids = fewer - more
    else:
        differing_ids = ids[0] ^ ids[1]
    if differing_ids:
        return f"not comparable: {len(differing_ids)} questions were asked on one side only"
    return ""


def _asked_otherwise(records: Sequence[Record]) -> str:
    """Why answers were asked or marked in ways that differ; "" if they were not."""
    markers = sorted({str(record.details.get("grader", "unknown")) for record in records})
    if len(markers) > 1:
        return f"answers marked by different markers ({'; '.join(markers)})"
    for name in _DIGESTS:
        values = {record.details.get(name) for record in records}
        if None in values:
            return f"a record does not say its {name}"
        if len(values) > 1:
            return f"{name} differs between the records"
    return ""


def begin(
    job: str,
    metric: str,
    measure: Literal["difference", "ratio", "shift"],
    arm: Evidence,
    reference: Evidence,
    gate: Gate | None,
) -> tuple[Check, str]:
    """An undecided check, and why nothing can be compared; "" if it can."""
    check = Check(
        job=job,
        metric=metric,
        against="reference",
        gated=gate is not None,
        measure=measure,
        margin=None if gate is None else gate.margin,
    )
    if gap := arm.gap_of(metric):
        return check, gap
    if gap := reference.gap_of(metric):
        return check, f"the reference: {gap}"
    if differs := next((side.differs for side in (arm, reference) if side.differs), ""):
        return check, f"not comparable: {differs}"
    return check, incomparable(arm, reference, metric)


def missing(check: Check, gap: str) -> Check:
    """The check, missing for this reason; without a verdict where no gate asks for one."""
    verdict = Verdict.MISSING if check.gated else None
    return check.model_copy(update={"verdict": verdict, "reason": gap})
