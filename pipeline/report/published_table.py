"""Figures that somebody published, entered by hand: external records, told apart from measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evals.metrics import METRICS, Better
from pipeline.experiment.errors import describe
from pipeline.experiment.yaml_source import SourceError, load_file

__all__ = ["Figure", "Part", "Published", "PublishedMetric", "Row", "load_published"]

# A published gain is rounded; what its own values give may differ by half of its last digit, and
# the values are rounded, too.
_ROUNDING = 0.51

# What only a table of published figures has.
_OWN_KEYS = frozenset({"baselines", "candidate", "metrics", "rows"})

Values = Annotated[dict[str, "float | Figure"], Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Figure(_Strict):
    """A value that was published with an interval."""

    value: float
    low: float
    high: float


class PublishedMetric(_Strict):
    """What a number of the table is; all but ``note`` may be left out for servegate's own metrics.

    ``digits`` are those that were published.
    """

    label: str | None = None
    unit: str | None = None
    better: Better | None = None
    digits: int | None = Field(default=None, ge=0, le=9)
    note: str = ""

    def known(self, name: str) -> PublishedMetric:
        """With what servegate's table of metrics says of the name filled in."""
        own = METRICS.get(name)
        if own is None:
            return self
        mine = {key: value for key, value in self.model_dump().items() if value is not None}
        theirs = {
            "label": own.label,
            "unit": own.unit,
            "better": own.better,
            "digits": own.digits,
        }
        return PublishedMetric.model_validate(theirs | mine)


class Row(_Strict):
    """One metric in one case; ``gains`` are those that were published, over each baseline."""

    case: str
    metric: str
    values: Values
    gains: dict[str, float] = Field(default_factory=dict)


class Part(_Strict):
    """A time that is part of another one, so that one change may explain the other."""

    whole: str
    part: str


class Published(_Strict):
    """One published table.

    Attributes:
        name: Of the folder that its report goes to.
        title: Of the report.
        source: Where the figures were published.
        setup: How they were measured, as far as that was said.
        replicates: How often each was measured, in words; this is what an interval would rest on.
        candidate: The arm whose gains are shown.
        baselines: The arms that they are over.
        metrics: What the numbers are.
        rows: The numbers.
        parts: Which times are part of which.
        gain_digits: Digits of a published gain.
        notes: What a reader must know besides.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str
    source: str
    setup: dict[str, str] = Field(default_factory=dict)
    replicates: str = "not said"
    candidate: str
    baselines: list[str] = Field(min_length=1)
    metrics: dict[str, PublishedMetric]
    rows: list[Row] = Field(min_length=1)
    parts: list[Part] = Field(default_factory=list)
    gain_digits: int = Field(default=2, ge=0, le=9)
    notes: list[str] = Field(default_factory=list)

    @property
    def arms(self) -> list[str]:
        """Baselines and candidate, in the order of the table."""
        return [*self.baselines, self.candidate]

    @property
    def has_intervals(self) -> bool:
        """Whether any figure has one."""
        return any(isinstance(one, Figure) for row in self.rows for one in row.values.values())

    def figure(self, row: Row, arm: str) -> Figure | float | None:
        """An arm's figure, as it was published; None where none was."""
        return row.values.get(arm)

    def value(self, row: Row, arm: str) -> float | None:
        """An arm's value alone."""
        found = row.values.get(arm)
        return found.value if isinstance(found, Figure) else found

    def gain(self, row: Row, baseline: str) -> float | None:
        """How many times as good the candidate is, from the values; above 1 is better.

        None where a value is missing, or zero, or the metric has no better direction.
        """
        ours, theirs = self.value(row, self.candidate), self.value(row, baseline)
        better = self.metrics[row.metric].better
        if ours is None or theirs is None or min(ours, theirs) <= 0 or better == "neither":
            return None
        return theirs / ours if better == "lower" else ours / theirs


def load_published(path: Path) -> Published:
    """Read and check one file of published figures.

    Raises:
        SourceError: With everything that is wrong with it: unknown keys, arms or metrics, more
            digits than it says, or a published gain that does not follow from its own values.
    """
    data = load_file(path)
    if not data.keys() & _OWN_KEYS:
        problem = (
            f"{path}: is no table of published figures: it has none of the keys "
            f"{', '.join(sorted(_OWN_KEYS))}; results of serving benchmarks are read by "
            "`servegate compare`"
        )
        raise SourceError([problem])
    try:
        found = Published.model_validate(data)
    except ValidationError as error:
        raise SourceError([f"{path}: {text}" for text in describe(Published, error)]) from error
    metrics = {name: metric.known(name) for name, metric in found.metrics.items()}
    found = found.model_copy(update={"metrics": metrics})
    problems = [f"{path}: {text}" for text in _problems(found)]
    if problems:
        raise SourceError(problems)
    return found


def _problems(found: Published) -> list[str]:
    problems = [
        f"metrics.{name}: servegate knows no such metric; give label, unit, better and digits"
        for name, metric in found.metrics.items()
        if None in (metric.label, metric.unit, metric.better, metric.digits)
    ]
    if len(set(found.arms)) != len(found.arms):
        problems.append("baselines: an arm stands there twice, or is the candidate")
    named = {part.whole for part in found.parts} | {part.part for part in found.parts}
    problems += [f"parts: {name!r} is no metric" for name in sorted(named - found.metrics.keys())]
    seen: set[tuple[str, str]] = set()
    for index, row in enumerate(found.rows):
        where = f"rows.{index}"
        if (row.case, row.metric) in seen:
            problems.append(f"{where}: {row.metric} of {row.case} stands twice")
        seen.add((row.case, row.metric))
        if row.metric not in found.metrics:
            known = ", ".join(found.metrics)
            problems.append(f"{where}.metric: {row.metric!r} is not in metrics; there: {known}")
        elif not problems:
            problems += [f"{where}.{text}" for text in _row_problems(found, row)]
    return problems


def _row_problems(found: Published, row: Row) -> list[str]:
    problems = [
        f"values.{arm}: is no arm; arms: {', '.join(found.arms)}"
        for arm in row.values
        if arm not in found.arms
    ]
    digits = found.metrics[row.metric].digits
    assert digits is not None
    for arm in row.values:
        value = found.value(row, arm)
        if value is not None and float(f"{value:.{digits}f}") != value:
            problems.append(f"values.{arm}: {value!r} has more than {digits} digits; raise digits")
        figure = found.figure(row, arm)
        if isinstance(figure, Figure) and not figure.low <= figure.value <= figure.high:
            bounds = f"[{figure.low:g}, {figure.high:g}]"
            problems.append(f"values.{arm}: {figure.value:g} does not lie in {bounds}")
    for baseline, published in row.gains.items():
        if baseline not in found.baselines:
            problems.append(f"gains.{baseline}: is no baseline: {', '.join(found.baselines)}")
            continue
        gain = found.gain(row, baseline)
        if gain is None or abs(gain - published) > _ROUNDING * 10**-found.gain_digits:
            told = "no gain" if gain is None else f"{gain:.{found.gain_digits + 2}f}"
            problems.append(
                f"gains.{baseline}: published as {published:g}, but its own values give {told}; "
                "if the source really says so, leave the gain out and note it"
            )
    return problems
