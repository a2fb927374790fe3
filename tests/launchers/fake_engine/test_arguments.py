from typing import Any

import pytest

from launchers.fake_engine.arguments import UsageError, resolve


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("--tp 4", {"tp_size": 4, "attn_dp_size": 1, "enable_dp_attention": False}),
        ("--tp-size 4 --attn-dp-size 2", {"attn_dp_size": 2, "enable_dp_attention": True}),
        ("--tp 4 --dp-size 4 --enable-dp-attention", {"attn_dp_size": 4, "dp_size": 1}),
        ("--dp-size 2", {"dp_size": 2, "attn_dp_size": 1}),
        ("--cuda-graph-bs-decode 1 2 4", {"cuda_graph_bs_decode": [1, 2, 4]}),
        ("--mem-fraction-static=0.8", {"mem_fraction_static": 0.8}),
        ("--enable-symm-mem --x y", {"enable_symm_mem": True, "x": "y"}),
        ('--extra {"a":[1]}', {"extra": {"a": [1]}}),
        ("--bias -1", {"bias": -1}),
        ("", {"served_model_name": "m", "tokenizer_path": "m", "tp_size": 1}),
    ],
)
def test_arguments_are_shown_as_sglang_resolves_them(line: str, shown: dict[str, Any]) -> None:
    resolved = resolve(["--model", "m", *line.split()])
    assert {name: resolved[name] for name in shown} == shown
    assert "model" not in resolved


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--tp 2", "required: --model-path"),
        ("--model m --tp two", "--tp-size: invalid: 'two'"),
        ("--model m --tp", "--tp-size: invalid: True"),
        ("--model m --tp 4 --attn-dp-size 3", "3 does not divide the tensor parallel size 4"),
        ("serve --model m", "unrecognized arguments: serve"),
    ],
)
def test_what_sglang_would_refuse_is_refused(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(line.split())
