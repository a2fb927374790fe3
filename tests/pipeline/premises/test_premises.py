"""Each premise is proved where the launch is what it claims, and disproved where it is not."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.premises import Claims, Evidence, check_premises, check_start, disproved, unsettled
from pipeline.records.record import PremiseResult
from tests.pipeline.premises.launches import claims, evidence, witness

NAMES = ["layout", "arguments", "environment", "plugins", "communication path"]
PRESETS = ["default", "nccl", "nccl-symmetric", "mixed-comm", None]


def result(of: Claims, seen: Evidence, name: str) -> PremiseResult:
    [found] = [one for one in check_premises(of, seen) if one.name == name]
    return found


def info(of: Claims, **changes: Any) -> Evidence:
    right = evidence(of)
    return evidence(of, server_info={**right.server_info, **changes})


def ranks(of: Claims, **changes: str) -> Evidence:
    """The third scheduler has other variables than the rest."""
    right = evidence(of)
    return evidence(
        of, rank_environs={**right.rank_environs, 102: {**right.rank_environs[102], **changes}}
    )


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dp", [2, 4])
def test_all_is_proved_of_an_arm_that_is_what_it_claims(preset: str | None, dp: int) -> None:
    of = claims(preset, dp=dp)
    for found in (check_premises(of, evidence(of)), check_start(of, evidence(of))):
        assert [(one.name, one.state) for one in found] == [(name, "proved") for name in NAMES]
        assert disproved(found) == ""


def test_sizes() -> None:
    of = claims()
    assert "attention DP is 4, planned 2" in result(of, info(of, attn_dp_size=4), "layout").detail
    assert "tp_size is 2, planned 4" in result(of, info(of, tp_size=2), "layout").detail
    assert result(of, info(of, ep_size=4), "layout").state == "disproved"
    # 0.5.16 tells attention DP as dp_size, and only with enable_dp_attention.
    old = {"attn_dp_size": 1, "dp_size": 2}
    assert result(of, info(of, **old, enable_dp_attention=True), "layout").state == "proved"
    assert result(of, info(of, **old), "layout").state == "disproved"
    assert result(of, evidence(of, server_info={}), "layout").state == "unproved"


def test_a_switch_of_the_arm_that_sglang_turned_off_is_disproved() -> None:
    of = claims("nccl-symmetric")
    found = result(of, info(of, enable_symm_mem=False), "arguments")
    assert (found.state, found.detail) == (
        "disproved", "enable_symm_mem is off, asked for on",
    )  # fmt: skip


HUB = "/root/.cache/huggingface/hub"
SNAPSHOT = f"{HUB}/models--org--model/snapshots/0a1b2c"


def model(told: str, *, name: str | None = None, of: Claims | None = None, **seen: Any) -> str:
    """What the premise says of a server that tells this model; "" if it is the planned one."""
    of = claims() if of is None else of
    right = evidence(of)
    served = told if name is None else name
    told_of = {**right.server_info, "model_path": told, "served_model_name": served}
    found = result(of, evidence(of, server_info=told_of, **seen), "arguments")
    assert found.state == ("disproved" if "model is" in found.detail else "proved")
    return found.detail if found.state == "disproved" else ""


@pytest.mark.parametrize(
    "told",
    [
        "org/model",
        SNAPSHOT,
        f"{SNAPSHOT}/model-Q4_K_M.gguf",
        "models--org--model/snapshots/main",
    ],
)
def test_the_planned_model_under_the_name_that_sglang_gives_it(told: str) -> None:
    assert model(told, name="org/model") == ""
    assert model(told) == ""  # the name follows the path where none is asked for


@pytest.mark.parametrize(
    "told",
    [
        "fake/m",
        "org/model-2",
        "other/model",
        "/models/model",
        f"{HUB}/models--org--model2/snapshots/0a1b2c",
        f"{HUB}/models--other--model/snapshots/0a1b2c",
        f"{HUB}/models--org--model",
        "/srv/org/model",  # of ModelScope, if that were asked for
    ],
)
def test_another_model_is_disproved_in_every_arm(told: str) -> None:
    assert f"the model is {told}, planned org/model" in model(told, name="org/model")


def test_the_name_must_be_the_planned_one() -> None:
    assert "served as fake/m, planned org/model" in model("org/model", name="fake/m")
    named = claims(served_name="mine")
    assert model("org/model", name="mine", of=named) == ""
    assert "served as org/model, planned mine" in model("org/model", name="org/model", of=named)
    assert "served as mine-2, planned mine" in model("org/model", name="mine-2", of=named)


def test_links_to_one_folder_are_one_model() -> None:
    local = claims(model_path="models/link")
    real = {"models/link": "/data/m", "/data/m": "/data/m", "/data/other": "/data/other"}
    assert model("/data/m", name="models/link", of=local, real_paths=real) == ""
    assert "planned models/link" in model("/data/other", of=local, real_paths=real)
    assert "planned models/link" in model("/data/m", of=local)  # neither is here
    moved = {"/cache/now": SNAPSHOT}
    assert model("/cache/now", name="org/model", real_paths=moved) == ""


def test_a_folder_of_modelscope_counts_where_it_is_asked_for() -> None:
    of = claims(model_path="org/model-1.5")
    there = "/root/.cache/modelscope/hub/models/org/model-1___5"
    asked = {**evidence(of).environ, "SGLANG_USE_MODELSCOPE": "true"}
    assert model(there, of=of, environ=asked) == ""
    assert "planned org/model-1.5" in model(f"{there}-instruct", of=of, environ=asked)
    assert "planned org/model-1.5" in model(there, of=of)


def test_a_file_of_the_hub_that_the_plan_names() -> None:
    for path in ("org/model:Q4_K_M", "org/model/model-Q4_K_M.gguf"):
        assert model(f"{SNAPSHOT}/model-Q4_K_M.gguf", of=claims(model_path=path)) == ""
    old = claims(model_path="gpt2")
    assert model(f"{HUB}/models--gpt2/snapshots/1", of=old) == ""
    assert "planned gpt2" in model(f"{HUB}/models--org--gpt2/snapshots/1", of=old)


def test_a_server_that_tells_no_model_proves_none() -> None:
    of = claims()
    told = {key: value for key, value in evidence(of).server_info.items() if key != "model_path"}
    found = result(of, evidence(of, server_info=told), "arguments")
    assert (found.state, found.detail) == ("unproved", "the server does not tell model_path")


def test_a_word_of_the_arm_that_became_another_is_disproved_but_not_auto() -> None:
    of = claims("nccl", args={"attention-backend": "fa3"})
    found = result(of, info(of, attention_backend="triton"), "arguments")
    assert "attention_backend is triton, asked for fa3" in found.detail
    assert found.state == "disproved"
    free = claims("nccl", args={"attention-backend": "auto"})
    assert result(free, info(free, attention_backend="fa3"), "arguments").state == "proved"


def test_a_number_that_sglang_divides_is_told_and_no_disproof() -> None:
    of = claims("nccl", args={"max-prefill-tokens": 4096})
    found = result(of, info(of, max_prefill_tokens=2048), "arguments")
    assert found.state == "proved"
    assert "max_prefill_tokens is 2048, asked for 4096" in found.detail
    assert "chunked_prefill_size is 4096, asked for 8192" in found.detail


def test_a_flag_of_the_arm_that_the_server_does_not_tell_is_unproved() -> None:
    of = claims("nccl", args={"a-new-flag": True})
    seen = {k: v for k, v in evidence(of).server_info.items() if k != "a_new_flag"}
    found = result(of, evidence(of, server_info=seen), "arguments")
    assert (found.state, found.detail) == ("unproved", "the server does not tell a_new_flag")
    assert result(of, evidence(of, server_info={}), "arguments").state == "unproved"


@pytest.mark.parametrize(
    ("asked", "resolved"),
    [
        ([1, 2, 4], [1, 2, 4]),
        ({"a": True}, {"a": True}),
        ({"a": True}, '{"a": true}'),
        (0.84, 0.84),
        ("fp8", "fp8"),
        (True, True),
    ],
)
def test_values_are_compared_as_what_they_are(asked: Any, resolved: Any) -> None:
    of = claims(None, args={"some-flag": asked})
    found = result(of, info(of, some_flag=resolved), "arguments")
    assert found.state == "proved"
    assert "some_flag" not in found.detail


def test_the_environment_of_every_process_counts() -> None:
    of = claims("mixed-comm")
    environ = {k: v for k, v in of.launch.env.items() if k != "SGLANG_USE_MIXED_COMM"}
    found = result(of, evidence(of, environ=environ), "environment")
    assert found.state == "disproved"
    assert "SGLANG_USE_MIXED_COMM is unset in the server, planned 1" in found.detail
    found = result(of, ranks(of, SGLANG_USE_MIXED_COMM="0"), "environment")
    assert found.detail == "SGLANG_USE_MIXED_COMM is 0 in scheduler 102, planned 1"
    other = claims("nccl")
    found = result(other, ranks(other, SGLANG_USE_MIXED_COMM="1"), "environment")
    assert found.detail == "SGLANG_USE_MIXED_COMM is 1 in scheduler 102, planned unset"


def test_symmetric_memory_must_show_in_the_schedulers_variables() -> None:
    of = claims("nccl-symmetric")
    found = result(of, ranks(of, NCCL_CUMEM_ENABLE="0"), "environment")
    assert found.detail == "NCCL_CUMEM_ENABLE is 0 in scheduler 102, planned 1"


def test_schedulers_that_cannot_be_read_prove_nothing() -> None:
    of = claims()
    assert result(of, evidence(of, rank_environs={}), "environment").state == "unproved"


@pytest.mark.parametrize(
    ("environ", "signs", "said"),
    [
        ({"SGLANG_PLUGINS": ""}, {}, "SGLANG_PLUGINS is not set"),
        ({"SGLANG_PLUGINS": "none,stranger"}, {}, "SGLANG_PLUGINS is none,stranger, planned []"),
        ({}, {"plugin failed": ["Failed to load plugin x from group y"]}, "Failed to load plugin"),
    ],
)
def test_the_plugin_set(environ: dict[str, str], signs: dict[str, Any], said: str) -> None:
    of = claims()
    seen = evidence(of, environ={**of.launch.env, **environ}, signs=signs)
    found = result(of, seen, "plugins")
    assert found.state == "disproved"
    assert said in found.detail


def mixed(changes: dict[int, dict[str, Any]]) -> PremiseResult:
    of = claims("mixed-comm")
    files = [witness(rank, **changes.get(rank, {})) for rank in range(4)]
    return result(of, evidence(of, witnesses=files), "communication path")


def test_a_rank_without_a_witness() -> None:
    of = claims("mixed-comm")
    seen = evidence(of, witnesses=[witness(rank) for rank in (0, 1, 3)])
    for found in (check_premises(of, seen), check_start(of, seen)):
        assert "no witness file of ranks [2]" in disproved(found)


def test_an_idle_rank() -> None:
    found = mixed({1: {"idle_reason": "deterministic"}})
    assert (found.state, found.detail) == ("disproved", "rank 1 is idle (deterministic)")


def test_a_rank_that_never_took_an_operation() -> None:
    found = mixed({3: {"operations": {"ALLREDUCE_ALLGATHER": 60}}})
    assert found.state == "disproved"
    assert found.detail == "rank 3 took no REDUCESCATTER_ALLREDUCE (passed through: dtype 2)"


def test_one_rank_that_passed_calls_through_which_the_others_took() -> None:
    operations = {"ALLREDUCE_ALLGATHER": 59, "REDUCESCATTER_ALLREDUCE": 60}
    found = mixed({2: {"operations": operations, "passed_through": {"dtype": 3}}})
    assert found.state == "disproved"
    assert "ALLREDUCE_ALLGATHER: rank 0 60, rank 1 60, rank 2 59, rank 3 60" in found.detail


def test_before_anything_is_served_no_call_is_expected() -> None:
    of = claims("mixed-comm")
    files = [witness(rank, operations={}, passed_through={}) for rank in range(4)]
    seen = evidence(of, witnesses=files)
    assert disproved(check_start(of, seen)) == ""
    assert "rank 0 took no ALLREDUCE_ALLGATHER" in disproved(check_premises(of, seen))


def test_what_is_told_of_the_path() -> None:
    detail = mixed({}).detail
    assert "all 4 ranks, handler reference, calls on each: ALLREDUCE_ALLGATHER 60" in detail
    assert "no fusion" not in detail
    of = claims("mixed-comm", dp=4)
    found = result(of, evidence(of), "communication path")
    assert "attention TP is 1: no fusion" in found.detail
    quiet = result(of, evidence(of, signs={}), "communication path")
    assert "its log names ranks [] only" in quiet.detail


def test_witnesses_in_an_arm_that_asks_for_none() -> None:
    of = claims("nccl")
    for changes in (
        {"witnesses": [witness(0)]},
        {"signs": {"mixed-comm active": ["MIXEDCOMM_PLUGIN active rank=0"]}},
    ):
        found = result(of, evidence(of, **changes), "communication path")
        assert found.state == "disproved"


def test_custom_all_reduce_v2_belongs_to_the_default_arm_only() -> None:
    signs = {"custom all-reduce v2": ["All Reduce config: symmetric_memory = 16 MB"]}
    default, nccl = claims("default"), claims("nccl")
    found = result(default, evidence(default, signs=signs), "communication path")
    assert (found.state, "custom all-reduce v2 was set up" in found.detail) == ("proved", True)
    found = result(nccl, evidence(nccl, signs=signs), "communication path")
    assert found.state == "disproved"


def test_symmetric_memory_that_the_log_says_is_off() -> None:
    of = claims("nccl-symmetric")
    signs = {"symmetric memory off": ["Disabling symmetric memory."]}
    assert result(of, evidence(of, signs=signs), "communication path").state == "disproved"


def test_unsettled_names_the_first_count_that_differs() -> None:
    assert unsettled([witness(0), witness(1)]) == ""
    assert unsettled([]) == ""
    said = unsettled([witness(0), witness(1, passed_through={})])
    assert said == "dtype: rank 0 2, rank 1 0"
