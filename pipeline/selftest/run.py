"""All cases through the gate, each compared with what must come out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline import exit_codes
from pipeline.gate.model import EXIT_CODES, Judgement, Verdict
from pipeline.selftest.base import candidate, levelled
from pipeline.selftest.claims import claims
from pipeline.selftest.losses import losses
from pipeline.selftest.matrix import gated, matrix, narrowed, unable
from pipeline.selftest.nights import NightCase, judged_night, night_cases
from pipeline.selftest.scene import Scene
from pipeline.selftest.statistics import statistics
from pipeline.selftest.stored import COLUMNS, Case, Outcome, Place, SelfTest, Stored


def scenarios(base: Stored, place: Place) -> Iterator[Case | NightCase]:
    """The cases that these records allow.

    Args:
        base: Levelled records.
        place: The row that faults are injected into.
    """
    scene = _scene(base, place)
    yield from losses(scene)
    yield from statistics(scene)
    yield from claims(scene)
    yield from night_cases(scene)


def _scene(base: Stored, place: Place) -> Scene:
    return Scene(base=base, place=place, gates=gated(base.plan, place))


def self_test(stored: Stored) -> SelfTest:
    """Judge every case.

    Args:
        stored: Records as a run left them; they are levelled first.

    Raises:
        RecordError: Nothing can be tested with these records.
    """
    found = list(outcomes(stored))
    ok = bool(found) and all(one.ok for one in found)
    return SelfTest(
        source=stored.source,
        ok=ok,
        exit_code=exit_codes.PASS if ok else exit_codes.CANNOT_VOUCH,
        outcomes=found,
        left_out=_left_out(levelled(stored)),
    )


def outcomes(stored: Stored) -> Iterator[Outcome]:
    """One case after the other, judged when asked for."""
    return map(judged, cases(stored))


def cases(stored: Stored) -> Iterator[Case | NightCase]:
    """All cases that the records allow, the matrix last."""
    base = levelled(stored)
    place = candidate(base.plan)
    yield from scenarios(base, place)
    yield from matrix(base, place)


def judged(case: Case | NightCase) -> Outcome:
    """One case through the gate, or through that of nights."""
    if isinstance(case, NightCase):
        return judged_night(case)
    judgement = case.stored.judged()
    problems: list[str] = []
    seen = _seen(case, judgement)
    for what, allowed, found in seen:
        if allowed and found not in allowed:
            told = " or ".join(verdict.value for verdict in allowed)
            problems.append(f"{what}: {found.value if found else 'nothing'}, must be {told}")
    if case.expected.headline not in judgement.reason:
        problems.append(f"headline: {judgement.reason}, must say {case.expected.headline!r}")
    code = EXIT_CODES[judgement.verdict]
    if judgement.exit_code != code or (code == exit_codes.PASS and _bad(case)):
        problems.append(f"exit code {judgement.exit_code} for {judgement.verdict.value}")
    _, allowed, found = next((one for one in seen if one[1]), seen[-1])
    return Outcome(
        name=case.name,
        column=case.column,
        job=case.job,
        metric=case.metric,
        arm=case.place.arm,
        layout=str(case.place.layout),
        injected=case.injected,
        expected=[verdict.value for verdict in allowed],
        found=found.value if found else "nothing",
        exit_code=judgement.exit_code,
        problems=problems,
    )


_Seen = tuple[str, Sequence[Verdict], Verdict | None]


def _seen(case: Case, judgement: Judgement) -> list[_Seen]:
    rows = {(row.layout, row.arm): row for row in judgement.rows}
    own = rows.pop((case.place.layout, case.place.arm))
    check = next(
        (
            one.verdict
            for one in own.checks
            if (one.job, one.metric, one.against) == (case.job, case.metric, case.against)
        ),
        None,
    )
    expected = case.expected
    seen: list[_Seen] = [
        (f"{case.job} {case.metric}", expected.check, check),
        (f"row {own.arm} on {own.layout}", expected.row, own.verdict),
    ]
    seen += [
        (f"row {row.arm} on {row.layout}", expected.others, row.verdict) for row in rows.values()
    ]
    return [*seen, ("run", expected.run, judgement.verdict)]


def _bad(case: Case) -> bool:
    good = {Verdict.PASS, Verdict.IMPROVED}
    return bool(case.expected.run) and not good.intersection(case.expected.run)


def _left_out(base: Stored) -> list[str]:
    place = candidate(base.plan)
    nights = any(True for _ in night_cases(_scene(base, place)))
    return [
        f"{one.job} {one.metric} {column}: {why}"
        for one in gated(base.plan, place)
        for column in COLUMNS
        if (why := unable(narrowed(base, one), one, column))
    ] + ([] if nights else ["nights: no gate on a speed passes with equal arms"])
