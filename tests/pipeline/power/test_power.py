"""The power statement: what it assumes, measures, finds impossible, and prints."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evals.job import Mark
from pipeline.experiment.model import Experiment
from pipeline.power import (
    BENCHMARK_SIZES,
    JobBasis,
    impossible_gates,
    measured_basis,
    replicate_notes,
)
from pipeline.power import power_statement as statement
from pipeline.stats.power import Difficulty
from tests.pipeline.builders import make_plan_for_test, make_run
from tests.pipeline.runs import LATENCY, accuracy_job, command, experiment, servegate

GSM8K: dict[str, Any] = {"kind": "accuracy"}
SPEED: dict[str, Any] = {"kind": "latency", "input_len": 128, "output_len": 32, "concurrency": 8}


def made(**changes: Any) -> Experiment:
    """Two arms on two layouts of eight GPUs; ``changes`` replace whole keys."""
    return Experiment.model_validate(
        {
            "name": "planned",
            "model": {"path": "org/model"},
            "layouts": [{"tp": 8, "attention_dp": [2, 4]}],
            "arms": {"nccl": {"preset": "nccl"}, "mixed-comm": {"preset": "mixed-comm"}},
            "reference": "nccl",
            "launches": 3,
            "jobs": {"gsm8k": {**GSM8K, "launches": 1}, "latency": SPEED},
            "gates": {
                "gsm8k": {"score": {"margin": 0.02}},
                "latency": {"median_itl_ms": {"margin": 0.03}},
            },
            **changes,
        }
    )


def fast(**changes: Any) -> Experiment:
    """Nothing but speed."""
    gates = {"latency": {"median_itl_ms": {"margin": 0.03}}}
    return made(jobs={"latency": SPEED}, gates=gates, **changes)


def gsm8k(gate: dict[str, Any], **settings: Any) -> Experiment:
    return made(jobs={"gsm8k": {**GSM8K, **settings}}, gates={"gsm8k": {"score": gate}}, launches=1)


def strict(questions: int) -> dict[str, Any]:
    """An alpha of 1 % and a margin of 5 points."""
    return {
        "jobs": {"gsm8k": {**GSM8K, "examples": questions}},
        "gates": {"gsm8k": {"score": {"margin": 0.05}}},
        "launches": 1,
        "alpha": 0.01,
    }


def test_a_sound_experiment_has_no_impossible_gate() -> None:
    assert impossible_gates(made()) == []
    assert impossible_gates(gsm8k({"margin": 0.02, "floor": 0.9}, examples=200)) == []


def test_a_margin_below_what_few_questions_show() -> None:
    """1 - 0.05^(1/n): 100 questions may all miss a loss of 2.95 points, and 2 points need 149."""
    for repeats in (1, 8):
        [told] = impossible_gates(gsm8k({"margin": 0.02}, examples=100, repeats=repeats))
        assert told.startswith("gates.gsm8k.score: can never pass an arm that answers just as")
        assert "exclude no loss below 2.95%" in told
        assert "at least 149 questions" in told
        settings = {"examples": 148, "repeats": repeats}
        assert impossible_gates(gsm8k({"margin": 0.02}, **settings)) != []
        assert impossible_gates(gsm8k({"margin": 0.02}, **settings | {"examples": 149})) == []


def test_a_margin_below_what_agreement_shows_can_never_pass() -> None:
    """z^2 / (n + z^2) at a strict alpha of 1 %: 5.13 points of 100 questions, and 5 need 103."""
    [told] = impossible_gates(made(**strict(102)))
    assert "exclude no loss below 5.04%" in told
    assert "at least 104 questions" in told
    assert impossible_gates(made(**strict(104))) == []


def test_too_few_questions_can_never_fire() -> None:
    """Two layouts of one arm and the reference's own two: 2^-n * 4 < 0.05 needs seven."""
    found = impossible_gates(gsm8k({"margin": 0.5}, examples=6))
    assert len(found) == 1
    assert "can never fire" in found[0]
    assert "at least 7 questions" in found[0]
    assert impossible_gates(gsm8k({"margin": 0.5}, examples=7)) == []


def test_a_floor_that_perfect_answers_do_not_show() -> None:
    """0.05^(1/n) >= 0.99 needs 299."""
    [told] = impossible_gates(gsm8k({"margin": 0.05, "floor": 0.99}, examples=298))
    assert "the floor can never be passed" in told
    assert "at least 299 questions" in told
    assert impossible_gates(gsm8k({"margin": 0.05, "floor": 0.99}, examples=299)) == []


def test_a_floor_so_low_that_nothing_lies_below() -> None:
    [told] = impossible_gates(gsm8k({"margin": 0.1, "floor": 0.02}, examples=100))
    assert "the floor can never fire: not one of 100 answers right still allows" in told
    needed = int(told.split("at least ")[1].split()[0])
    assert impossible_gates(gsm8k({"margin": 0.1, "floor": 0.02}, examples=needed)) == []
    assert impossible_gates(gsm8k({"margin": 0.1, "floor": 0.02}, examples=needed - 1)) != []


def test_one_launch_shows_no_spread() -> None:
    [told] = impossible_gates(made(launches=1))
    assert told.startswith("gates.latency.median_itl_ms: can never pass or fire: one launch")
    limited = {**SPEED, "launches": 1}
    [told] = impossible_gates(made(jobs={"gsm8k": GSM8K, "latency": limited}))
    assert "set launches to 3" in told


def test_a_margin_of_speed_below_the_least_spread() -> None:
    """t_0.95 * 0.001 / sqrt(n): 0.45 % for two launches, 0.17 % for three."""
    gates = {"latency": {"median_itl_ms": {"margin": 0.003}}}
    [told] = impossible_gates(made(launches=2, gates=gates))
    assert "2 launches exclude no change below 0.45%" in told
    assert "at least 3" in told
    assert impossible_gates(made(launches=3, gates=gates)) == []


def test_one_arm_is_compared_with_nothing() -> None:
    alone = {"nccl": {"preset": "nccl"}}
    found = impossible_gates(made(arms=alone))
    assert len(found) == 2
    assert all("there is only the reference arm" in told for told in found)
    gates = {"gsm8k": {"score": {"margin": 0.02, "floor": 0.9}}}
    assert impossible_gates(made(arms=alone, gates=gates)) == []


def test_of_local_data_that_nobody_counted_nothing_is_said() -> None:
    local = gsm8k({"margin": 0.001}, data="/data/mine.jsonl")
    assert impossible_gates(local) == []
    assert len(impossible_gates(local, {"gsm8k": JobBasis(questions=100)})) == 1
    found = statement(local)
    assert found.scores == []
    assert found.not_estimated == [
        "gates.gsm8k.score: how many questions there are is not known; set examples"
    ]


def test_the_statement_of_a_score() -> None:
    found = statement(made())
    [score] = found.scores
    assert (score.questions, score.samples, score.alarms) == (BENCHMARK_SIZES["gsm8k"], 1, 4)
    assert score.source.startswith("assumed")
    assert score.pass_chance > 0.95
    assert score.smallest_drop is not None
    # What is regressed lies beyond the margin of 2 points: 0.84 standard errors more, for 80 %.
    assert 0.02 < score.smallest_drop < 0.027
    assert score.questions_needed < 1319
    assert score.samples_needed == 1
    assert found.impossible == []


def test_more_repeats_and_launches_see_more() -> None:
    few, many = (
        statement(gsm8k({"margin": 0.05}, benchmark="gpqa", examples=120, repeats=k)).scores[0]
        for k in (1, 4)
    )
    assert (few.samples, many.samples) == (1, 4)
    assert few.pass_chance < 0.65
    assert many.pass_chance > 0.9
    assert few.questions_needed > 180
    assert few.samples_needed is not None
    assert 2 <= few.samples_needed <= 4


def test_the_statement_of_a_speed() -> None:
    [speed] = statement(fast()).speeds
    assert (speed.launches, speed.alarms, speed.smallest_p) == (3, 2, 0.125)
    assert speed.pass_chance > 0.95
    assert speed.smallest_change is not None
    assert 0.03 < speed.smallest_change < 0.04
    assert speed.launches_needed == 3


def test_a_noisy_machine_needs_more_launches() -> None:
    basis = {"latency": JobBasis(spreads={"median_itl_ms": 0.03}, source="measured")}
    [speed] = statement(fast(), basis).speeds
    assert speed.source == "measured"
    assert speed.pass_chance < 0.4
    assert speed.launches_needed is not None
    assert speed.launches_needed > 5


def test_gpu_hours_are_gpus_times_tokens_over_pace() -> None:
    basis = {
        "gsm8k": JobBasis(
            difficulty=Difficulty(score=0.9, within=0.02), tokens=1000.0, tokens_per_s=500.0
        )
    }
    job, starts = statement(gsm8k({"margin": 0.05}, examples=900), basis).costs
    # 900 answers of 1000 tokens at 500 a second are half an hour; two arms, two layouts, 8 GPUs.
    assert job.hours == pytest.approx(2.0)
    assert job.gpu_hours == pytest.approx(16.0)
    assert starts.gpu_hours == pytest.approx(600 / 3600 * 2 * 2 * 8)
    assert statement(fast()).costs[0].told.startswith("assumed")


def test_without_gpus_no_gpu_hours() -> None:
    found = statement(fast(engine={"name": "fake"}))
    assert (found.costs, found.gpu_hours) == ([], None)


def marks(rng: np.random.Generator, chance: np.ndarray) -> Any:
    def mark(arm: str, dp: int, question: int, repeat: int) -> Mark:
        return "correct" if rng.random() < chance[question] else "wrong"

    return mark


@pytest.mark.parametrize(
    ("repeats", "arms", "dps", "source"),
    [
        (4, ("nccl", "mixed-comm"), (2, 4), "repeats of the same questions"),
        (1, ("nccl", "mixed-comm"), (2, 4), "the reference on several layouts"),
        (1, ("nccl", "mixed-comm"), (2,), "pairs of arms"),
    ],
)
def test_variance_is_measured_from_a_run(
    repeats: int, arms: tuple[str, ...], dps: tuple[int, ...], source: str
) -> None:
    rng = np.random.default_rng(5)
    chance = Difficulty(score=0.8, within=0.08).chances(rng, (600,))
    plan = make_plan_for_test(arms=arms, dps=dps, launches=2)
    run = make_run(plan, mark=marks(rng, chance), questions=600, repeats=repeats)
    basis = measured_basis(plan, run.records.values(), run.read)
    found = basis["gsm8k"]
    assert source in found.source
    assert found.difficulty is not None
    assert found.difficulty.score == pytest.approx(chance.mean(), abs=0.03)
    assert found.difficulty.within == pytest.approx((chance * (1 - chance)).mean(), abs=0.02)
    assert found.questions == 600
    assert found.tokens == 5
    assert found.tokens_per_s == pytest.approx(600 * repeats * 5)  # all in one second
    assert 0 < basis["latency"].spreads["median_itl_ms"] < 0.01


def test_one_arm_asked_once_shows_no_variance() -> None:
    plan = make_plan_for_test(arms=("nccl",), dps=(2,), launches=2)
    basis = measured_basis(plan, (run := make_run(plan)).records.values(), run.read)
    assert basis["gsm8k"].difficulty is None
    assert basis["latency"].spreads["median_itl_ms"] > 0  # from the launches of the one arm


def test_agreement_everywhere_is_not_taken_for_no_variance() -> None:
    plan = make_plan_for_test()
    basis = measured_basis(plan, (run := make_run(plan)).records.values(), run.read)
    difficulty = basis["gsm8k"].difficulty
    assert difficulty is not None
    assert difficulty.score == pytest.approx(0.8)
    assert difficulty.within == pytest.approx(0.25 / 200)


def test_failed_records_say_nothing() -> None:
    plan = make_plan_for_test()
    run = make_run(plan)
    for cell in run.cells("nccl", 2, "gsm8k") + run.cells("nccl", 4, "gsm8k"):
        run.fail(cell)
    assert "gsm8k" not in measured_basis(plan, run.records.values(), run.read)


def test_the_command_prints_a_statement(tmp_path: Path) -> None:
    file = experiment(
        tmp_path, launches=2, jobs={"gsm8k": accuracy_job(launches=1), "latency": LATENCY},
        gates={"gsm8k": {"score": {"margin": 0.3}}, "latency": {"median_itl_ms": {"margin": 0.2}}},
    )  # fmt: skip
    done = servegate("power", file, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "40 questions, each asked 1 x in each arm, margin 30 points" in done.stdout  # counted
    assert "gives no p below" not in done.stdout
    table = done.stdout.split("verdicts by true loss, spread over all questions:\n")[1]
    header, passes, regressed, inconclusive = table.splitlines()[:4]
    assert header.split()[-7:] == ["0", "0.25", "0.5", "0.75", "1", "1.5", "2"]
    for line, name in ((passes, "pass"), (regressed, "regressed"), (inconclusive, "inconclusive")):
        assert line.split()[0] == name
        assert line.count("%") == 7
    assert "2 launches an arm, margin 20 %" in done.stdout


def test_the_command_warns_of_impossible_gates_and_reads_a_run(tmp_path: Path) -> None:
    plan = make_plan_for_test()
    run = make_run(plan).write(tmp_path / "runs")
    file = experiment(
        tmp_path, jobs={"gsm8k": accuracy_job()}, gates={"gsm8k": {"score": {"margin": 0.01}}}
    )
    done = servegate("power", file, "--variance-from", run.root, "--json", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    document = json.loads(done.stdout)
    assert document["scores"][0]["source"].startswith("measured in the run")
    assert document["scores"][0]["score"] == pytest.approx(0.8)
    first, *_, last = document["scores"][0]["operating"]
    assert (first["margins"], first["passes"]) == (0, 0)  # forty questions pass nothing at 1 point
    assert last["margins"] == 2
    assert document["scores"][0]["staged_operating"] is None
    assert document["scores"][0]["questions"] == 40  # of this experiment, not of that run
    assert "can never pass" in document["impossible"][0]
    assert servegate("power", file, "--variance-from", tmp_path, cwd=tmp_path).returncode == 2


def test_what_stages_save_is_said_beforehand() -> None:
    """The design of docs/statistics.md: 1319 questions, a margin of 1.5 points."""
    [score] = statement(gsm8k({"margin": 0.015}, stages=10)).scores
    assert score.staged_share == pytest.approx(0.59, abs=0.03)
    assert score.staged_pass_chance == pytest.approx(0.95, abs=0.03)
    assert score.staged_pass_chance is not None
    assert score.pass_chance > score.staged_pass_chance
    assert score.staged_operating is not None
    assert score.staged_operating[0].asked == score.staged_share
    assert score.staged_operating[4].passes < 0.08
    [plain] = statement(gsm8k({"margin": 0.015})).scores
    assert (plain.staged_share, plain.staged_pass_chance) == (None, None)
    # 149 questions exclude two points, in stages too: none but the last may pass.
    assert impossible_gates(gsm8k({"margin": 0.02}, examples=149, stages=4)) == []
    [told] = impossible_gates(gsm8k({"margin": 0.02}, examples=148, stages=4))
    assert "can never pass an arm that answers just as the reference" in told


def test_a_gate_that_can_decide_nothing_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """Three launches of forty questions can pass a margin of 20 points, one launch no latency."""
    sound = experiment(
        tmp_path, jobs={"gsm8k": accuracy_job()}, gates={"gsm8k": {"score": {"margin": 0.2}}}
    )
    assert servegate("plan", sound, cwd=tmp_path).returncode == 0
    file = experiment(tmp_path)  # latency, one launch
    words: tuple[str | Path, ...]
    for words in (("plan", file), ("run", file, "--out", "runs")):
        line = command(*words, refuse_impossible=True)
        done = subprocess.run(
            line, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2
        assert "gates.latency.median_itl_ms: can never pass or fire: one launch" in done.stderr
        assert "--allow-impossible" in done.stderr
    assert not (tmp_path / "runs").exists()
    allowed = servegate("plan", file, "--allow-impossible", cwd=tmp_path)
    assert allowed.returncode == 0
    assert "note: gates.latency.median_itl_ms: can never pass or fire" in allowed.stderr
    # Local questions are counted: forty cannot exclude a loss of two points.
    few = experiment(
        tmp_path, jobs={"gsm8k": accuracy_job()}, gates={"gsm8k": {"score": {"margin": 0.02}}}
    )
    refused = servegate("plan", few, cwd=tmp_path)
    assert refused.returncode == 2
    assert "40 questions exclude no loss below" in refused.stderr


@pytest.mark.parametrize(
    ("launches", "alpha", "note"),
    [
        (4, 0.05, "the smallest p that 4 blocks show"),
        (5, 0.05, None),
        (5, 0.01, "is 0.031, and alpha is 0.01; 7 launches need no such trust (latency)"),
        (7, 0.01, None),
        (1, 0.05, None),  # such a gate is refused
    ],
)
def test_few_launches_are_told_when_an_experiment_is_planned(
    launches: int, alpha: float, note: str | None
) -> None:
    found = replicate_notes(fast(launches=launches, alpha=alpha))
    assert len(found) == (0 if note is None else 1)
    assert note is None or note in found[0]
