"""The self-test guards every rule of the gate: with any one switched off, a case must fail.

Each entry of ``RULES`` takes one rule out. A rule that nothing guards fails here under its name.
Left out is what another rule makes unreachable: that the worst of no verdicts is missing (a row
without checks has a gap, which is missing already; gate/test_judge.py asks it directly).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from evals.metrics import METRICS, Better
from pipeline.gate import (
    accuracy,
    evidence,
    gains,
    logprobs,
    multiplicity,
    proof,
    rows,
    slow_mode,
    speed,
)
from pipeline.gate.model import EXIT_CODES, Check, Verdict
from pipeline.history import comparisons
from pipeline.history import judge as judging_nights
from pipeline.history.baselines import select
from pipeline.history.nightly import refusals
from pipeline.selftest import cases, judged, shipped
from pipeline.selftest import nights as nightly
from pipeline.selftest.nights import NightCase
from pipeline.selftest.stored import Case
from pipeline.stats import Interval, decision
from pipeline.stats.nights import night_spread

# The package hands on the function of the same name.
judging = import_module("pipeline.gate.judge")
Patch = pytest.MonkeyPatch
P, R, G, I, M = (  # noqa: E741
    Verdict.PASS, Verdict.REGRESSED, Verdict.IMPROVED, Verdict.INCONCLUSIVE, Verdict.MISSING,
)  # fmt: skip


# Between them they guard most rules. The order alone depends on it, so that a rule is tried on a
# few cases and not on a hundred; a case that is not named here is tried after these.
FIRST = {
    "harm", "harm in noise", "p below alpha by itself only", "one launch an arm",
    "faster and wrong", "gain", "loss in noise", "loss that only Holm rejects",
    "too few questions", "in stages, harm", "in stages, loss in noise", "in stages, nothing",
    "few texts begin alike", "all arms below the floor", "floor not excluded",
    "reference broken on a layout",
}  # fmt: skip


@cache
def all_cases() -> list[Case | NightCase]:
    """Made once, before any rule is taken out."""
    return list(cases(shipped()))


def first_problem(near: str = "") -> str:
    """The first case that does not come out as it must; "" if all do.

    Those of the metric ``near``, or ``near`` "nights" those of nights, are tried first, then one of
    each name in ``FIRST``.
    """

    def of(case: Case | NightCase) -> str:
        return "nights" if near == "nights" and isinstance(case, NightCase) else case.metric

    likely = {case.name: id(case) for case in reversed(all_cases()) if case.name in FIRST}
    ordered = sorted(
        all_cases(), key=lambda case: (of(case) != near, likely.get(case.name) != id(case))
    )
    for case in ordered:
        try:
            found = judged(case)
        except ValueError as error:
            return f"{case.name}: {error}"
        if not found.ok:
            return f"{found.name}: {found.problems}"
    return ""


def instead(module: Any, name: str, value: Any) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(module, name, value)


def verdict_becomes(module: Any, name: str, old: Verdict, new: Verdict) -> Callable[[Patch], None]:
    """A function that decides a check gives another verdict in place of one."""
    own = getattr(module, name)

    def made(*args: Any, **kwargs: Any) -> Check:
        check: Check = own(*args, **kwargs)
        return check.model_copy(update={"verdict": new}) if check.verdict is old else check

    return instead(module, name, made)


def floor_becomes(old: Verdict, new: Verdict) -> Callable[[Patch], None]:
    own = accuracy._floor_verdict

    def made(interval: Interval, strict: Interval, floor: float, better: str) -> Any:
        verdict, reason = own(interval, strict, floor, better)
        return (new if verdict is old else verdict), reason

    return instead(accuracy, "_floor_verdict", made)


def gap_without(word: str) -> Callable[[Patch], None]:
    """A reason for not comparing that is no longer seen."""
    own = evidence.incomparable

    def made(*args: Any) -> str:
        found = own(*args)
        return "" if word in found else found

    return instead(evidence, "incomparable", made)


def own_gap_without(word: str) -> Callable[[Patch], None]:
    own = evidence.Evidence.gap_of

    def made(self: evidence.Evidence, metric: str) -> str:
        found = own(self, metric)
        return "" if word in found else found

    return instead(evidence.Evidence, "gap_of", made)


def exit_zero(verdict: Verdict) -> Callable[[Patch], None]:
    return lambda patch: patch.setitem(EXIT_CODES, verdict, 0)


def flipped(name: str) -> Callable[[Patch], None]:
    metric = METRICS[name]
    other: Better = "lower" if metric.better == "higher" else "higher"
    return lambda patch: patch.setitem(METRICS, name, replace(metric, better=other))


def without_margin(patch: Patch) -> None:
    """Significant alone is worse, however small."""
    own = speed.decide_ratio

    def made(check: Check, p_worse: float, p_better: float, alpha: float) -> Check:
        tiny = check.model_copy(update={"margin": 1e-9})
        return own(tiny, p_worse, p_better, alpha)

    patch.setattr(multiplicity, "_FAMILIES", (multiplicity._FAMILIES[0], ("speed", made)))


def without_p(family: int) -> Callable[[Patch], None]:
    """Beyond the margin alone is worse, however noisy."""

    def patched(patch: Patch) -> None:
        name, own = multiplicity._FAMILIES[family]

        def made(check: Check, p_worse: float, p_better: float, alpha: float) -> Check:
            return own(check, 0.0, p_better, alpha)

        every: list[Any] = list(multiplicity._FAMILIES)
        every[family] = (name, made)
        patch.setattr(multiplicity, "_FAMILIES", tuple(every))

    return patched


def without_margin_of_answers(patch: Patch) -> None:
    own = accuracy.decide_difference

    def made(check: Check, p_worse: float, p_better: float, alpha: float) -> Check:
        return own(check.model_copy(update={"margin": 1e-9}), p_worse, p_better, alpha)

    patch.setattr(multiplicity, "_FAMILIES", (("accuracy", made), multiplicity._FAMILIES[1]))


def decided_becomes(family: int, old: Verdict, new: Verdict) -> Callable[[Patch], None]:
    def patched(patch: Patch) -> None:
        name, own = multiplicity._FAMILIES[family]

        def made(*args: Any) -> Check:
            check = own(*args)
            return check.model_copy(update={"verdict": new}) if check.verdict is old else check

        every: list[Any] = list(multiplicity._FAMILIES)
        every[family] = (name, made)
        patch.setattr(multiplicity, "_FAMILIES", tuple(every))

    return patched


def uncorrelated(*args: Any, own: Any = night_spread, **kwargs: Any) -> Any:
    """The spread of nights, each taken to be independent of the last."""
    spread = own(*args, **kwargs)
    weights = np.zeros_like(spread.weights)
    weights[..., 0] = 1.0
    return replace(spread, weights=weights)


def counted_again(tonight: Any, nights: Any, acceptances: Any, own: Any = select) -> Any:
    """Baselines in which withdrawn nights count."""
    return own(tonight, nights, [one.model_copy(update={"withdrawn": ""}) for one in acceptances])


def night_becomes(old: Verdict, new: Verdict) -> Callable[[Patch], None]:
    """A check against accepted nights gives another verdict in place of one."""
    own = comparisons.decided

    def made(*args: Any) -> Any:
        check = own(*args)
        return check.model_copy(update={"verdict": new}) if check.verdict is old else check

    return instead(judging_nights, "decided", made)


def not_set_aside(tonight: Any, *args: Any, own: Any = judging_nights.judge_night) -> Any:
    cells = [cell.model_copy(update={"quarantine": ""}) for cell in tonight.night.cells]
    night = tonight.night.model_copy(update={"cells": cells})
    return own(replace(tonight, night=night), *args)


def kept(checks: Any, *_args: Any, **_kwargs: Any) -> Any:
    return list(checks)


def passed(check: Check, _gap: str) -> Check:
    """What cannot be compared is silently skipped."""
    return check.model_copy(update={"verdict": P if check.gated else None})


RULES: dict[str, Callable[[Patch], None]] = {
    "speed: a loss is found": decided_becomes(1, R, P),
    "speed: a gain is found": decided_becomes(1, G, P),
    "speed: what is not decided is no pass": decided_becomes(1, I, P),
    "speed: within the margin is no loss": without_margin,
    "speed: a loss must be established": without_p(1),
    "speed: one launch decides nothing": verdict_becomes(speed, "against_reference", I, P),
    "speed: a slow launch of the arm alone is no pass": instead(
        slow_mode, "slow_launches", lambda *_args: []
    ),
    "answers: a loss is found": decided_becomes(0, R, P),
    "answers: a gain is found": decided_becomes(0, G, P),
    "answers: what is not decided is no pass": decided_becomes(0, I, P),
    "answers: within the margin is no loss": without_margin_of_answers,
    "answers: a loss must be established": without_p(0),
    "answers: few questions pass nothing": instead(
        decision, "asks_enough", lambda *_args: True
    ),
    "stages: a loss is found": verdict_becomes(accuracy, "decided_check", R, P),
    "stages: what is not decided is no pass": verdict_becomes(accuracy, "decided_check", I, P),
    "stages: a pass needs its stage": verdict_becomes(accuracy, "decided_check", P, I),
    "Holm's correction": instead(multiplicity, "holm", list),
    "shift: a loss is found": verdict_becomes(logprobs, "against_reference", R, P),
    "shift: too few texts decide nothing": instead(logprobs, "_MOST_UNCOMPARED", 2.0),
    "floor: below it is a loss": floor_becomes(R, P),
    "floor: not shown to be kept is no pass": floor_becomes(I, P),
    "the reference is held against its other layouts": instead(
        judging, "_layouts", lambda *_args: []
    ),
    "nothing passes against a broken reference": instead(
        rows, "hold_back",
        lambda checks, *, broken_reference, own=rows.hold_back: own(checks, broken_reference=False),
    ),
    "no gain in speed without proved accuracy": instead(
        rows, "hold_back",
        lambda checks, *, broken_reference, own=rows.hold_back: (
            own(checks, broken_reference=True) if broken_reference else list(checks)
        ),
    ),
    "a gain must hold against every baseline": instead(gains, "better_than_all", kept),
    "a gain must exceed the noise floor": instead(
        gains, "above_floor", lambda _layout, checks, _floors: list(checks)
    ),
    "an invalid arm has no verdict": instead(proof, "take_back", kept),
    "a missing check is missing: answers": instead(accuracy, "missing", passed),
    "a missing check is missing: speed": instead(speed, "missing", passed),
    "a missing check is missing: shift": instead(logprobs, "missing", passed),
    "what differs and is not declared": instead(judging, "undeclared", lambda *_args: {}),
    "settings must not differ": gap_without("settings differ"),
    "the same questions: ids_digest": gap_without("ids_digest differs"),
    "the same way of asking: protocol_digest": gap_without("protocol_digest differs"),
    "the same marker: grader": gap_without("marked by different markers"),
    "a record says which questions": gap_without("does not say its ids_digest"),
    "a record says how it asked": gap_without("does not say its protocol_digest"),
    "the same questions on both sides": gap_without("asked on one side only"),
    "a part of the launches is not judged": own_gap_without("planned records do not count"),
    "a speed is a positive finite number": own_gap_without("no positive value"),
    "only ok records count": lambda patch: patch.setattr(
        evidence, "problem_of", lambda record: None if record is not None else ("not run", "", "")
    ),
    "requests without tokens do not count": instead(
        evidence, "unseen_tokens", lambda _counts: None
    ),
    "a starved client does not count": instead(evidence, "kept_problem", lambda _loads: ""),
    "a failed record is no pass": instead(
        rows, "problem_of", lambda record: None if record is not None else ("not run", "", "")
    ),
    "a lost record is no pass": instead(
        rows, "problem_of",
        lambda record, own=evidence.problem_of: None if record is None else own(record),
    ),
    "proof that is required is asked for": instead(rows, "_proof_gaps", lambda *_args: []),
    "what gates need must be there": instead(rows, "_gate_gaps", lambda *_args: []),
    "what traces did not give is in the headline": instead(judging, "_untimed", lambda *_: ""),
    "a loss rules over all": lambda patch: (
        patch.setattr(judging, "worst", lambda verdicts: demoted(verdicts, R)),
        patch.setattr(rows, "worst", lambda verdicts: demoted(verdicts, R)),
    )[0],
    "missing rules over a pass": lambda patch: patch.setattr(
        rows, "worst", lambda verdicts: demoted(verdicts, M)
    ),
    "inconclusive rules over a pass": lambda patch: patch.setattr(
        judging, "worst", lambda verdicts: demoted(verdicts, I)
    ),
    "nights: a loss is found": night_becomes(R, P),
    "nights: a gain is named": night_becomes(G, P),
    "nights: what is quarantined is set aside": instead(nightly, "judge_night", not_set_aside),
    "nights: a night that is too good is no baseline": instead(
        nightly, "refusals", lambda *_args: []
    ),
    "nights: a pin is what a deliberate change is made with": instead(
        nightly, "refusals", lambda *args, own=refusals: own(*args[:2], "")
    ),
    "nights: one bogus night does not disarm the gate": instead(
        comparisons, "typical", lambda values, _margin: np.isfinite(values)
    ),
    "nights: a withdrawn night does not count": instead(nightly, "select", counted_again),
    "nights: those that are alike are no alarm": instead(
        comparisons, "night_spread", uncorrelated
    ),
    "nights: a provisional pin is judged with care": instead(judging_nights, "FIRM_PIN", 0),
    "exit code of regressed": exit_zero(R),
    "exit code of missing": exit_zero(M),
    "exit code of inconclusive": exit_zero(I),
    **{
        f"direction of {name}": flipped(name)
        for name, metric in METRICS.items() if metric.better != "neither"
        and metric.compared_as != "shift"
    },
}  # fmt: skip


_ORDER = (R, M, I, G, P)


def demoted(verdicts: Any, which: Verdict) -> Verdict:
    """The worst, with one verdict counted last."""
    found = set(verdicts)
    order = [*(one for one in _ORDER if one is not which), which]
    return next((one for one in order if one in found), M)


def test_with_all_rules_nothing_is_unexpected() -> None:
    assert first_problem() == ""


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_guarded(rule: str, monkeypatch: Patch) -> None:
    all_cases()
    RULES[rule](monkeypatch)
    near = rule.removeprefix("direction of ").partition(":")[0]
    assert first_problem(near), f"nothing in the self-test guards this rule of the gate: {rule}"
