"""Arms that are one thing under two names are named in a plan and count as an A/A in a report."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.experiment.model import Experiment
from pipeline.gate import judge
from pipeline.gate.gains import repeats_reference
from pipeline.plan.build import make_plan
from pipeline.plan.equal_arms import equal_arms, with_resolved_repeats
from pipeline.plan.model import Plan, PlanModel
from pipeline.plan.text import plan_lines
from pipeline.preflight.checks import Preflight
from pipeline.records.facts import Facts
from pipeline.report.not_checked import not_checked
from tests.pipeline.builders import MadeRun, make_run

NO_REPEAT = "no arm repeats the reference"


def plan(arms: dict[str, Any], **changes: Any) -> Plan:
    """A plan of three launches of the arms on two layouts; the arm `a` is the reference."""
    experiment = Experiment.model_validate(
        {
            "name": "made-up",
            "model": {"path": "org/model"},
            "layouts": [{"tp": 4, "attention_dp": [1, 2]}],
            "arms": {"a": {}, **arms},
            "reference": "a",
            "launches": 3,
            "jobs": {
                "latency": {"kind": "latency", "input_len": 8, "output_len": 8, "concurrency": 1}
            },
            "gates": {"latency": {"median_itl_ms": {"margin": 0.05}}},
            **changes,
        }
    )
    model = PlanModel(path="org/model", served_name="org/model", tokenizer="org/model")
    return make_plan(experiment, model=model, python="/py", cores=8)


@pytest.mark.parametrize(
    ("arm", "equal"),
    [
        ({}, True),
        ({"args": {"enable-metrics": False, "page-size": None}}, True),
        ({"differs": ["packages.torch"]}, True),
        ({"args": {"page-size": 1}}, False),
        ({"env": {"NCCL_DEBUG": "INFO"}}, False),
        ({"plugins": ["mine"]}, False),
    ],
)
def test_equal_command_lines_and_environments(arm: dict[str, Any], equal: bool) -> None:
    made = plan({"b": arm})
    assert made.repeats == ({"b": "a"} if equal else {})
    assert any(line.startswith("A/A: b runs what a runs") for line in plan_lines(made)) is equal


def test_the_order_of_flags_does_not_matter_and_their_values_do() -> None:
    made = plan(
        {
            "b": {"args": {"page-size": 16, "stream-interval": 2}},
            "c": {"args": {"stream-interval": 2, "page-size": 16}},
            "d": {"args": {"stream-interval": 16, "page-size": 2}},
            "e": {"args": {"page-size": 16, "stream-interval": 2}},
        }
    )
    assert made.repeats == {"c": "b", "e": "b"}
    assert repeats_reference(made) == []


def test_settings_of_the_fake_engine_make_arms_different_where_it_serves() -> None:
    arms = {"b": {"fake": {"itl_ms": 9.0}}, "c": {}}
    assert plan(arms, engine={"name": "fake"}).repeats == {"c": "a"}
    assert plan(arms).repeats == {"b": "a", "c": "a"}


def test_equal_arms_are_no_part_of_the_hash() -> None:
    made = plan({"b": {"args": {"page-size": 1}}})
    known = Preflight(repeats={"b": "a"}).known(made)
    assert (known.repeats, known.hash) == ({"b": "a"}, made.hash)


def test_what_the_parser_fills_in_makes_arms_equal() -> None:
    made = plan({"b": {"args": {"page-size": 1}}, "c": {"args": {"page-size": 2}}})
    parsed = {
        tuple(launch.argv): f"{launch.layout} {2 if launch.arm == 'c' else 1}"
        for launch in made.launches
    }
    assert equal_arms(made, parsed) == {"b": "a"}
    known = Preflight(repeats=equal_arms(made, parsed)).known(made)
    assert (
        "A/A: b runs what a runs: the same environment, and the same flags once SGLang's "
        "defaults are filled in" in plan_lines(known)
    )
    assert repeats_reference(known) == ["b"]


def facts(**arguments: Any) -> Facts:
    shown = {"page_size": 1, "attention_backend": "fa3", "tp_size": 4, **arguments}
    return Facts(
        arguments=shown, environment={}, rank_environment={}, packages={}, libraries={},
        machine={}, gpu={},
    )  # fmt: skip


def measured(arm: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]) -> MadeRun:
    """A run of `a` and `b` whose servers resolved their arguments like this."""
    made = make_run(plan({"b": arm}))
    made.facts = {
        launch.id: facts(**(ours if launch.arm == "b" else theirs)) for launch in made.plan.launches
    }
    return made


def told(made: MadeRun) -> tuple[bool, int]:
    """Whether the report says that nothing repeats the reference, and layouts with a floor."""
    judged = judge(made.plan, made.records.values(), made.read, made.facts)
    known = with_resolved_repeats(made.plan, made.facts)
    return any(NO_REPEAT in text for text in not_checked(known, judged)), len(
        {str(one.layout) for one in judged.noise}
    )


@pytest.mark.parametrize(
    ("arm", "ours", "theirs"),
    [
        ({"args": {"page-size": 1}}, {}, {}),
        ({"args": {"attention-backend": "fa3"}}, {}, {}),
        ({"args": {"page-size": 64}}, {"page_size": 64}, {"page_size": 64}),
    ],
)
def test_arms_that_were_resolved_alike_are_an_a_a(
    arm: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    made = measured(arm, ours, theirs)
    assert told(made) == (False, 2)
    judged = judge(made.plan, made.records.values(), made.read, made.facts)
    notes = [note for row in judged.rows if row.arm == "b" for note in row.notes]
    assert notes.count("runs what a runs (A/A): SGLang's defaults already hold its own flags") == 2


@pytest.mark.parametrize(
    ("arm", "ours", "theirs"),
    [
        ({"args": {"page-size": 64}}, {"page_size": 64}, {}),
        # Asked for 64, and SGLang made 1 of it: what else it did so is not known.
        ({"args": {"page-size": 64}}, {}, {}),
        ({"args": {"enable-new": True}}, {}, {}),
        ({"args": {"page-size": 1}, "env": {"X": "1"}}, {}, {}),
    ],
)
def test_arms_that_were_not_are_none(
    arm: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    assert told(measured(arm, ours, theirs)) == (True, 0)


def test_without_facts_nothing_is_guessed() -> None:
    made = measured({"args": {"page-size": 1}}, {}, {})
    made.facts = {}
    assert told(made) == (True, 0)
