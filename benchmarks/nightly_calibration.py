"""How often the nightly gate cries wolf, how soon it finds a step, and what a drift may cost.

Usage: python -m benchmarks.nightly_calibration [LINES]

Simulated nights, judged and accepted by the functions of the command: two arms, one layout, a
median ITL (margin 2 %) over 5 launches a night and a score (margin 3 points) over 1319 questions.
Nights differ by 0.4 %, launches of one night by 0.7 %, both normal in the logarithm. LINES (20)
lines of nights, each with a pin of its own and 50 nights after it: 1,000 nights with no change.
Every night that is not refused is accepted, so that what the gate lets through becomes part of the
rolling baseline, as in use. Four claims:

- with no change, at most 1 % of nights end red; the share of inconclusive nights is printed;
- of steps of 3 % in one arm's ITL, on a line of ten accepted nights, 95 % are found within 3;
- a drift of 0.2 % a night is found before it has cost 4 %, in 95 % of lines, although every night
  that is not red is accepted;
- once it is found, the pinned baseline stays red for as long as the arm is slower: of 30 further
  nights of the same drift none is anything else, and `accept` without a pin refuses every one.

The figure is the share of red nights with no change.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import exp, log
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline.facts import Facts
from pipeline.gate.model import Verdict
from pipeline.history.accept import refusals
from pipeline.history.baselines import select
from pipeline.history.entry import Tonight, read_night
from pipeline.history.judge import Rules, judge_night
from pipeline.history.model import Acceptance, CellValue, Night, NightJudgement
from pipeline.history.store import History
from pipeline.stats import mean_score
from tests.pipeline.builders import make_plan_for_test, make_run

LINES, NIGHTS, BEFORE = 20, 50, 10
MARGIN, STEP, DRIFT = 0.02, 0.03, 0.002
NIGHT_SD, LAUNCH_SD, LAUNCHES = 0.004, 0.007, 5
QUESTIONS, SCORE_SD = 1319, 0.01  # of one question's mean, from night to night
RED, FOUND, WITHIN, COST = 0.01, 0.95, 3, 0.04
STEPS, DRIFTS, AFTER = 100, 40, 30

ARM = "mixed-comm"
_START = datetime(2026, 1, 1, tzinfo=UTC)
_FACTS = Facts(
    arguments={}, environment={}, rank_environment={}, packages={"sglang": "0.5.23"}, libraries={},
    machine={"host": "node-1"}, gpu={"driver": "580.1", "gpus": []},
)  # fmt: skip


def template() -> Tonight:
    """A real run of the simulated experiment, read as `servegate` reads it."""
    plan = make_plan_for_test(
        dps=(2,),
        launches=LAUNCHES,
        gates={
            "gsm8k": {"score": {"margin": 0.03}},
            "latency": {"median_itl_ms": {"margin": MARGIN}},
        },
    )
    made = make_run(plan)
    made.facts = {launch.id: _FACTS for launch in plan.launches}
    with TemporaryDirectory() as folder:
        run = made.write(Path(folder))
        return read_night(run, History(Path(folder) / "history.sqlite"))


@dataclass
class Line:
    """One line of nights of a simulated machine, with what was accepted of it."""

    rng: np.random.Generator
    start: Tonight
    nights: list[Night]
    acceptances: list[Acceptance]
    answers: dict[tuple[str, str], Mapping[str, float]]
    difficulty: np.ndarray[tuple[int], np.dtype[np.float64]]

    def night(self, slower: float) -> NightJudgement:
        """Simulate a night with one arm slower by a ratio, judge it, and accept it if it may be."""
        tonight = self._simulate(slower)
        baselines = select(tonight.night, self.nights, self.acceptances)
        judgement = judge_night(tonight, baselines, self._means, Rules())
        pin = "" if self.nights else "release"
        self.nights.append(tonight.night)
        if not refusals(tonight, judgement, pin):
            self.acceptances.append(
                Acceptance(
                    night=tonight.night.id, pin=pin, reason="simulated", accepted_by="nobody",
                    accepted_at="",
                )
            )  # fmt: skip
        return judgement

    def _simulate(self, slower: float) -> Tonight:
        number = len(self.nights)
        common = self.rng.normal(0, NIGHT_SD)
        means = {}
        cells = []
        for cell in self.start.night.cells:
            if cell.metric == "median_itl_ms":
                factor = slower if cell.arm == ARM else 1.0
                logs = log(10.0 * factor) + common + self.rng.normal(0, LAUNCH_SD, LAUNCHES)
                cells.append(
                    cell.model_copy(
                        update={"value": exp(logs.mean()), "launches": np.exp(logs).tolist()}
                    )
                )
            elif cell.metric == "score":
                right = self.rng.random(QUESTIONS) < self.difficulty
                own = {f"q{index:04d}": float(hit) for index, hit in enumerate(right)}
                means[(cell.layout, cell.arm, cell.job), "score"] = own
                self.answers[f"night-{number}", cell.arm] = own
                cells.append(
                    cell.model_copy(
                        update={
                            "value": float(right.mean()), "n": QUESTIONS,
                            "interval": mean_score(list(own.values()), 0.05),
                        }
                    )
                )  # fmt: skip
        night = self.start.night.model_copy(
            update={
                "id": number + 1,
                "run": f"night-{number}",
                "started_at": (_START + timedelta(days=number)).isoformat(),
                "cells": cells,
            }
        )
        return replace(self.start, night=night, means=means)

    def _means(self, night: Night, cell: CellValue) -> Mapping[str, float] | None:
        return self.answers.get((night.run, cell.arm))


def new_line(seed: int, start: Tonight) -> Line:
    """A machine and a model of its own; 98 % of answers are right, most questions always."""
    rng = np.random.default_rng(seed)
    difficulty = np.clip(rng.beta(4.0, 0.08, QUESTIONS), 0.0, 1.0)
    return Line(rng=rng, start=start, nights=[], acceptances=[], answers={}, difficulty=difficulty)


def quiet(start: Tonight, lines: int) -> tuple[Counter[str], int]:
    """Verdicts of nights with no change, and how many are red or inconclusive for speed alone."""
    verdicts: Counter[str] = Counter()
    early = 0
    for seed in range(lines):
        line = new_line(seed, start)
        line.night(1.0)
        for number in range(NIGHTS):
            verdict = line.night(1.0).verdict
            verdicts[verdict.value] += 1
            early += number < BEFORE and verdict is Verdict.INCONCLUSIVE
    return verdicts, early


def steps(start: Tonight) -> list[int | None]:
    """After how many nights a step of 3 % is found; None: not within the limit."""
    found: list[int | None] = []
    for seed in range(STEPS):
        line = new_line(10_000 + seed, start)
        for _ in range(BEFORE):
            line.night(1.0)
        red = [line.night(1 + STEP).verdict is Verdict.REGRESSED for _ in range(WITHIN)]
        found.append(red.index(True) + 1 if True in red else None)
    return found


def drifts(start: Tonight) -> tuple[list[float], int, int]:
    """What a drift cost when it was found; later nights that were not red, or were accepted."""
    cost: list[float] = []
    cleared = accepted = 0
    for seed in range(DRIFTS):
        line = new_line(20_000 + seed, start)
        for _ in range(BEFORE):
            line.night(1.0)
        number = 0
        while True:
            number += 1
            factor = (1 + DRIFT) ** number
            if line.night(factor).verdict is Verdict.REGRESSED:
                break
        cost.append(factor - 1)
        # It goes on; from the cost that the claim names on, nothing may clear it any more.
        while factor < 1 + COST:
            number += 1
            factor = (1 + DRIFT) ** number
            line.night(factor)
        before = len(line.acceptances)
        for _ in range(AFTER):
            number += 1
            cleared += not _pinned_red(line.night((1 + DRIFT) ** number))
        accepted += len(line.acceptances) - before
    return cost, cleared, accepted


def _pinned_red(judgement: NightJudgement) -> bool:
    return any(
        check.baseline == "pinned" and check.verdict is Verdict.REGRESSED
        for check in judgement.checks
    )


def main() -> int:
    """Print what was found; 0 where all four claims hold."""
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else LINES
    start = template()
    verdicts, early = quiet(start, lines)
    total = verdicts.total()
    red = verdicts["regressed"] / total
    print(f"{total} nights with no change: " + ", ".join(f"{k} {v}" for k, v in verdicts.items()))
    print(f"  red {red:.2%}, inconclusive {verdicts['inconclusive'] / total:.1%}; ", end="")
    print(f"of the first {BEFORE} nights of a line {early / (BEFORE * lines):.1%}")
    found = steps(start)
    share = sum(one is not None for one in found) / len(found)
    first = sum(one == 1 for one in found) / len(found)
    print(f"step of {STEP:.0%}: {share:.1%} found within {WITHIN} nights, {first:.1%} in the first")
    cost, cleared, accepted = drifts(start)
    below = sum(one < COST for one in cost) / len(cost)
    print(
        f"drift of {DRIFT:.1%} a night: found at a cost of {np.median(cost):.2%} (median), "
        f"{max(cost):.2%} (worst of {len(cost)}); below {COST:.0%} in {below:.1%}"
    )
    print(
        f"  {AFTER * len(cost)} later nights: {cleared} not red against the pin, "
        f"{accepted} accepted"
    )
    holds = red <= RED and share >= FOUND and below >= FOUND and cleared == accepted == 0
    word = "holds" if holds else "falls short"
    print(f"benchmark nightly_calibration: {red:.4f} red (limit {RED}) {word}")
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
