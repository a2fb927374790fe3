"""The plugin in the real SGLang, through its own loader and HookRegistry."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.engine

HOOKED = [
    "_decode_sum_len_fits_custom_all_reduce",
    "_dp_gather_via_all_gather",
    "dp_reduce_scatter_tensor",
    "init_dp_gathered_buffer",
]
ROWS, WIDTH = 4, 16


Findings = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def findings() -> Findings:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SGLANG_", "SERVEGATE_"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.launchers.plugins.mixed_comm.forks"],
        env=clean | {"SGLANG_PLUGINS": "servegate_mixed_comm"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    assert [name for name, answer in found.items() if "failed" in answer] == [], found
    return found


def test_operations_and_the_zeroing_of_copies(findings: Findings) -> None:
    seen = findings["operations"]
    ones = float(ROWS * WIDTH)
    for rank, copies in (("tp2dp4rank3", 0.0), ("tp2dp4rank2", ones)):
        assert seen[rank] == [
            {"operation": "ALLREDUCE_ALLGATHER", "out": [ROWS * 4, WIDTH], "sum_in": ones},
            {"operation": "ALLREDUCE_ALLGATHER", "out": [ROWS * 4, WIDTH], "sum_in": copies},
            {"operation": "REDUCESCATTER_ALLREDUCE", "out": [ROWS, WIDTH], "sum_in": 4 * ones},
        ]
    assert seen["tp1dp8rank3"] == [
        {"operation": "ALLGATHER", "out": [ROWS * 8, WIDTH], "sum_in": ones},
        {"operation": "ALLGATHER", "out": [ROWS * 8, WIDTH], "sum_in": ones},
        {"operation": "REDUCESCATTER", "out": [ROWS, WIDTH], "sum_in": 8 * ones},
    ]


def test_calls_passed_through_reach_the_original_unchanged(findings: Findings) -> None:
    found = findings["passing"]
    whole = [[ROWS * 4, WIDTH], [ROWS, WIDTH], True, False]
    empty = [[0, WIDTH], [0, WIDTH], True, False]
    assert found["reached"] == [whole, whole, empty, whole, whole, whole, whole]
    assert found["handled"] == 0
    assert found["busy"] == {"dtype": 1, "empty": 1, "padding-mode": 1, "compiling": 1}
    assert found["shortcut"] == [False, False]
    assert found["declined"] == 1
    assert found["idle_keeps_shortcut"] is True
    assert found["draft"] == {"other-layout": 1}


def test_hooks_are_applied_and_reach_the_importers(findings: Findings) -> None:
    found = findings["on"]
    assert found["ended"] is None
    assert found["applied"] == HOOKED
    assert found["propagated"] is True


@pytest.mark.parametrize(
    "scenario", ["unset", "zero", "not-listed", "all-plugins-off", "no-entry-point"]
)
def test_nothing_is_hooked_when_off(scenario: str, findings: Findings) -> None:
    assert findings[scenario] == {
        "ended": None,
        "registered": [],
        "applied": [],
        "propagated": True,
    }


def test_a_renamed_target_stops_the_process(findings: Findings) -> None:
    found = findings["renamed"]
    assert found["ended"].startswith("mixed-comm: HookTargetError: hook target missing: ")
    assert "_dp_gather_via_all_gather" in found["ended"]
    assert found["registered"] == []


def test_an_exception_in_register_stops_the_process(findings: Findings) -> None:
    found = findings["exploding"]
    assert found["ended"] == "mixed-comm: ZeroDivisionError: inside register"


def test_a_hook_that_sglang_failed_to_apply_stops_the_scheduler(findings: Findings) -> None:
    found = findings["unapplied"]
    assert found["error"] == (
        "mixed-comm: SGLang did not apply the hooks to "
        "['sglang.srt.layers.dp_attention.dp_reduce_scatter_tensor']"
    )


def test_a_second_plugin_on_the_same_functions_stops_the_scheduler(findings: Findings) -> None:
    found = findings["second-plugin"]
    assert found["ended"] is None
    assert found["error"] == (
        "mixed-comm: another plugin hooks the same functions, so that nobody could say what ran: "
        "stranger: sglang.srt.layers.dp_attention.dp_reduce_scatter_tensor. Leave it out of "
        "SGLANG_PLUGINS"
    )


def test_a_second_plugin_that_is_not_listed_is_not_loaded(findings: Findings) -> None:
    found = findings["second-not-listed"]
    assert (found["applied"], found["error"]) == (HOOKED, None)


def test_an_entry_point_of_our_name_takes_our_place_which_only_the_witness_shows(
    findings: Findings,
) -> None:
    """Nothing is raised and nothing is hooked: that is why arms are believed by their witness."""
    found = findings["same-name"]
    assert (found["ended"], found["registered"], found["error"]) == (None, [], None)


NAMES = ["MAX_LEN True", "MAX_LEN False", "SUM_LEN True", "SUM_LEN False"]


@pytest.mark.parametrize(
    ("scenario", "equal_rows"),
    [("choices", "dp_reduce_scatterv"), ("choices-prefer", "dp_reduce_scatter")],
)
def test_equal_rows_go_by_reduce_scatter_only_where_it_is_preferred(
    scenario: str, equal_rows: str, findings: Findings
) -> None:
    found = findings[scenario]
    assert found["ended"] is None
    chosen = [equal_rows, "dp_reduce_scatter", "dp_reduce_scatterv", None]
    assert found["chosen"] == dict(zip(NAMES, chosen, strict=True))


def test_variable_reduce_scatter_needs_attention_tp_1(findings: Findings) -> None:
    """attention_dp = moe_ep > 1 with attention_tp > 1 was wrong in 0.5.16 and is right since."""
    right = {"tp1dp4ep4": True, "tp2dp2ep2": False, "tp2dp2ep1": False}
    assert findings["choices"]["variable"] == right
    assert findings["older-mistake"] == {
        "tp1dp4ep4": [True, True], "tp2dp2ep2": [True, False], "tp2dp2ep1": [False, False],
    }  # fmt: skip


def test_a_switch_with_nothing_to_fix_stops_the_process(findings: Findings) -> None:
    assert findings["choices-fix"]["ended"] == (
        "reduce-scatter: HookTargetError: SERVEGATE_FIX_REDUCE_SCATTERV has nothing to fix in "
        "SGLang 0.5.23, which asks for attention TP 1 itself; unset it"
    )
