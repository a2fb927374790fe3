"""`servegate compare` on results of SGLang's and vLLM's serving benchmarks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.compare import DEFAULT_METRICS, LoadComparison, Rules, compare_loads, read_given
from pipeline.gate.model import Verdict
from pipeline.records.record import RecordError
from tests.pipeline.runs import servegate

REQUESTS, OUTPUT = 24, 40


def sglang(pace: float = 1.0, *, details: bool = False, **more: Any) -> dict[str, Any]:
    """A line of ``bench_serving``; `pace` stretches every time."""
    gap, first = 0.008 * pace, 0.06 * pace
    duration = REQUESTS / 8 * (first + gap * (OUTPUT - 1))
    row: dict[str, Any] = {
        "tag": None,
        "backend": "sglang",
        "dataset_name": "random",
        "request_rate": float("inf"),
        "max_concurrency": 8,
        "sharegpt_output_len": None,
        "random_input_len": 100,
        "random_output_len": OUTPUT,
        "random_range_ratio": 1.0,
        "server_info": {"model_path": "/models/Some-8B", "tp_size": 4, "port": 31000},
        "duration": duration,
        "completed": REQUESTS,
        "total_input_tokens": 100 * REQUESTS,
        "total_output_tokens": OUTPUT * REQUESTS,
        "total_output_tokens_retokenized": 951,
        "request_throughput": REQUESTS / duration,
        "output_throughput": REQUESTS * OUTPUT / duration,
        "total_throughput": REQUESTS * (OUTPUT + 100) / duration,
        "median_e2e_latency_ms": 1e3 * (first + gap * (OUTPUT - 1)),
        "median_ttft_ms": 1e3 * first,
        "median_tpot_ms": 1e3 * gap,
        "median_itl_ms": 1e3 * gap,
        "p99_itl_ms": 1.5e3 * gap,
        "concurrency": 7.9,
        "accept_length": None,
    }
    if details:
        row |= {
            "input_lens": [100] * REQUESTS,
            "output_lens": [OUTPUT] * REQUESTS,
            "ttfts": [first] * REQUESTS,
            "errors": [""] * REQUESTS,
            "itls": [[gap] * (OUTPUT - 1) for _ in range(REQUESTS)],
            "generated_texts": ["x"] * REQUESTS,
        }
    return row | more


def vllm(pace: float = 1.0, **more: Any) -> dict[str, Any]:
    """A document of ``vllm bench serve``."""
    ours = sglang(pace)
    row = {
        "date": "20260304-050607",
        "endpoint_type": "vllm",
        "backend": "vllm",
        "label": None,
        "model_id": "org/Some-8B",
        "tokenizer_id": "org/Some-8B",
        "num_prompts": REQUESTS,
        "request_rate": "inf",
        "burstiness": 1.0,
        "max_concurrency": 8,
        "failed": 0,
        "request_goodput": None,
        "total_token_throughput": ours["total_throughput"],
        "max_output_tokens_per_s": 900.0,
        "max_concurrent_requests": 8,
        "rtfx": 0.0,
    }
    kept = (
        "duration",
        "completed",
        "total_input_tokens",
        "total_output_tokens",
        "request_throughput",
        "output_throughput",
        "median_ttft_ms",
        "median_tpot_ms",
        "median_itl_ms",
        "p99_itl_ms",
    )
    return row | {name: ours[name] for name in kept} | more


def side(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A file for each row."""
    folder.mkdir(parents=True)
    for number, row in enumerate(rows):
        (folder / f"run-{number}.jsonl").write_text(json.dumps(row) + "\n", "utf-8")
    return folder


PACES = (1.0, 1.004, 0.997)


def compared(
    one: Path,
    other: Path,
    *,
    launches: bool = True,
    margin: float | None = 0.05,
    metrics: Sequence[str] = DEFAULT_METRICS,
    **rules: bool,
) -> list[LoadComparison]:
    return compare_loads(
        read_given(one).results,
        read_given(other).results,
        Rules(margin=margin, alpha=0.05, **rules),
        launches=launches,
        metrics=metrics,
    )


def only(one: Path, other: Path, **how: Any) -> LoadComparison:
    [made] = compared(one, other, **how)
    return made


@pytest.mark.parametrize("row", [sglang, vllm])
def test_launches_of_equal_pace_pass_and_slower_ones_are_regressed(
    tmp_path: Path, row: Any
) -> None:
    one = side(tmp_path / "one", [row(pace) for pace in PACES])
    same = side(tmp_path / "same", [row(pace * 1.002) for pace in PACES])
    slow = side(tmp_path / "slow", [row(pace * 1.2) for pace in PACES])
    made = only(one, same)
    assert made.verdict is Verdict.PASS
    assert [check.metric for check in made.checks] == list(DEFAULT_METRICS)
    assert {check.method for check in made.checks} == {"Welch's t on log launch medians"}
    made = only(one, slow)
    assert made.verdict is Verdict.REGRESSED
    assert [check.verdict for check in made.checks] == [Verdict.REGRESSED] * 4
    by_metric = {check.metric: check.estimate for check in made.checks}
    assert by_metric["median_itl_ms"] == pytest.approx(1.2)
    assert by_metric["output_throughput"] == pytest.approx(1 / 1.2)
    assert only(slow, one).verdict is Verdict.IMPROVED


def test_one_file_a_side_is_inconclusive_however_large_the_change(tmp_path: Path) -> None:
    one, other = side(tmp_path / "one", [sglang()]), side(tmp_path / "other", [sglang(3.0)])
    for launches in (False, True):
        made = only(one, other, launches=launches)
        assert (made.verdict, made.files) == (Verdict.INCONCLUSIVE, (1, 1))
        assert "how launches differ by themselves was not seen" in made.reason
    assert only(one, one).verdict is Verdict.INCONCLUSIVE


def test_several_files_are_launches_only_where_that_is_said(tmp_path: Path) -> None:
    one = side(tmp_path / "one", [sglang(pace) for pace in PACES])
    made = only(one, one, launches=False)
    assert made.verdict is Verdict.INCONCLUSIVE
    assert "if each is, say --launches" in made.reason


def test_several_results_in_one_file_are_runs_of_one_launch(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text("\n".join(json.dumps(sglang(pace)) for pace in PACES))
    made = only(path, path)
    assert (made.verdict, made.files) == (Verdict.INCONCLUSIVE, (1, 1))
    # The launch's value is the median of its runs.
    assert made.checks[2].value == pytest.approx(8.0)


def test_vllm_documents_are_read_indented_and_appended(tmp_path: Path) -> None:
    whole, appended = tmp_path / "a.json", tmp_path / "b.json"
    whole.write_text(json.dumps(vllm(), indent=2))
    appended.write_text(json.dumps(vllm()) + "\n" + json.dumps(vllm(max_concurrency=16)))
    assert len(read_given(whole).results) == 1
    assert [one.settings["max_concurrency"] for one in read_given(appended).results] == [8, 16]
    detailed = tmp_path / "c.json"
    detailed.write_text(json.dumps(vllm(ttfts=[0.06] * 24, itls=[[0.008] * 39] * 24)))
    assert read_given(detailed).results[0].problem == ""


@pytest.mark.parametrize(
    ("more", "clause"),
    [
        ({"request_rate": 4.0}, "request_rate differs (inf against 4)"),
        ({"max_concurrency": 16}, "max_concurrency differs (8 against 16)"),
        ({"random_output_len": 64}, "random_output_len differs (40 against 64)"),
        ({"dataset_name": "sharegpt"}, "dataset_name differs (random against sharegpt)"),
        ({"backend": "sglang-oai"}, "backend differs (sglang against sglang-oai)"),
        ({"server_info": {"model_path": "/x/Other-8B"}}, "model differs (Some-8B against Other-8"),
        ({"server_info": None}, "model differs (Some-8B against not told)"),
        ({"total_input_tokens": 2500}, "input_tokens_per_request differs (100 against 104.167)"),
        ({"seed": 7}, "seed differs (not told against 7)"),
        ({"new_knob": False}, "new_knob differs (not told against false)"),
    ],
)
def test_another_load_model_or_client_is_missing_by_name(
    tmp_path: Path, more: dict[str, Any], clause: str
) -> None:
    one = side(tmp_path / "one", [sglang(pace) for pace in PACES])
    other = side(tmp_path / "other", [sglang(pace * 1.3, **more) for pace in PACES])
    made = only(one, other)
    assert (made.verdict, clause in made.reason) == (Verdict.MISSING, True), made.reason
    judged = only(one, other, any_settings=True, metrics=["median_tpot_ms"])
    assert (judged.verdict, clause in judged.reason) == (Verdict.REGRESSED, True)


def test_tags_times_servers_and_new_results_are_no_settings(tmp_path: Path) -> None:
    one = side(tmp_path / "one", [sglang(pace) for pace in PACES])
    other = side(
        tmp_path / "other",
        [
            sglang(
                pace,
                tag="b",
                max_itl_ms=12.0,
                p90_itl_ms=9.0,
                total_input_tokens=2399,
                server_info={"model_path": "/y/Some-8B", "tp_size": 8},
            )
            for pace in PACES
        ],
    )
    assert only(one, other).verdict is Verdict.PASS


def test_metrics_that_two_clients_define_differently_are_missing_by_name(tmp_path: Path) -> None:
    one = side(tmp_path / "one", [sglang(pace) for pace in PACES])
    other = side(tmp_path / "other", [vllm(pace) for pace in PACES])
    made = only(one, other, any_settings=True, metrics=["median_itl_ms", "request_throughput"])
    verdicts = {check.metric: check.verdict for check in made.checks}
    assert verdicts == {"median_itl_ms": Verdict.MISSING, "request_throughput": Verdict.PASS}
    assert "median_itl_ms is not the same on both sides" in made.checks[0].reason
    assert made.verdict is Verdict.MISSING


def test_speculative_itl_of_openai_backends_is_another_metric(tmp_path: Path) -> None:
    more: dict[str, Any] = {"backend": "sglang-oai"}
    one = side(tmp_path / "one", [sglang(pace, **more) for pace in PACES])
    spec = side(tmp_path / "spec", [sglang(pace, accept_length=2.5, **more) for pace in PACES])
    verdicts = {check.metric: check.verdict for check in only(one, spec).checks}
    assert verdicts["median_itl_ms"] is Verdict.MISSING
    assert verdicts["median_tpot_ms"] is Verdict.PASS


def test_a_gap_for_each_chunk_may_bring_several_tokens(tmp_path: Path) -> None:
    """With speculative decoding vLLM's client has fewer gaps than tokens, and none is lost."""
    served: dict[str, Any] = {
        "ttfts": [0.06] * 24,
        "output_lens": [40] * 24,
        "itls": [[0.024] * 13] * 24,
    }
    for number, (gaps, problem) in enumerate(
        [([0.024], ""), ([], "1 of 24 requests brought several tokens at once")]
    ):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(vllm() | served | {"itls": [gaps, *served["itls"][1:]]}))
        assert read_given(file).results[0].problem.startswith(problem)
        assert bool(read_given(file).results[0].problem) == bool(problem)


def changed(**more: Any) -> dict[str, Any]:
    return sglang(details=True) | more


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (changed(errors=["boom", *[""] * 23]), "not all requests completed: 24, 1 failed"),
        (changed(ttfts=[0.0, *[0.06] * 23]), "1 of 24 requests have a time that is not finite and"),
        (
            changed(ttfts=[None, *[0.06] * 23]),
            "1 of 24 requests have a time that is not finite and",
        ),
        (
            changed(itls=[[], *[[0.008] * 39] * 23]),
            "1 of 24 requests brought several tokens at once that no gap accounts for: request 1 (",
        ),
        (
            changed(itls=[[0.0] * 39] * 24),
            "24 of 24 requests have a time that is not finite and positive: requests 1 (its gap 1",
        ),
        (changed(itls=[[-0.1, 0.2]] * 24), "24 of 24 requests have a time that is not finite and"),
        (
            changed(itls=[[float("inf")]] * 24),
            "24 of 24 requests have a time that is not finite and positive: requests 1 (its gap 1",
        ),
        (
            changed(ttfts=[0.0, *[0.06] * 23], itls=[[], *[[0.008] * 39] * 23]),
            "1 of 24 requests gave",
        ),
        (changed(itls=[[0.008] * 19, *[[0.008] * 39] * 23]), "1 of 24 requests brought several"),
        (changed(itls=[[]] * 24, output_lens=[1] * 24), "no gap between tokens was seen: the"),
        (changed(itls=[[0.008] * 39] * 23), "24 first tokens and the gaps of 23 requests"),
        (changed(itls=[0.008] * 24), "24 first tokens and the gaps of 24 requests"),
        (changed(output_lens=[40] * 23), "24 first tokens and the lengths of 23 requests"),
        (sglang(median_tpot_ms=-0.4), "median_tpot_ms is -0.4, not a positive number"),
        (sglang(median_itl_ms=float("inf")), "median_itl_ms is inf, not a positive number"),
        (sglang(median_itl_ms="8"), "median_itl_ms is '8', not a positive number"),
        (sglang(completed=0), "completed 0 requests"),
        (sglang(duration=float("nan")), "completed 24 requests in nan s"),
        (vllm(completed=20, failed=4), "not all requests completed: 20, 4 failed"),
        (vllm(completed=20), "not all requests completed: 20, 0 failed"),
    ],
)
def test_a_result_that_says_nothing_is_missing_with_its_file(
    tmp_path: Path, row: dict[str, Any], problem: str
) -> None:
    folder = side(tmp_path / "one", [row] * 3)
    made = only(folder, folder, any_settings=True)
    assert made.verdict is Verdict.MISSING
    assert made.reason.startswith(f"{folder / 'run-0.jsonl'}:1: {problem}")


def test_loads_are_paired_and_one_that_a_side_lacks_is_told(tmp_path: Path) -> None:
    def ladder(pace: float, loads: Sequence[int]) -> str:
        return "\n".join(json.dumps(sglang(pace, max_concurrency=load)) for load in loads)

    for name, stretch, loads in (("one", 1.0, (1, 8, 64)), ("other", 1.2, (64, 1))):
        (tmp_path / name).mkdir()
        for number, pace in enumerate(PACES):
            (tmp_path / name / f"{number}.jsonl").write_text(ladder(pace * stretch, loads))
    made = compared(tmp_path / "one", tmp_path / "other")
    assert [one.verdict for one in made] == [*[Verdict.REGRESSED] * 2, Verdict.MISSING]
    assert "max_concurrency 8" in made[2].load
    assert len(compared(tmp_path / "one", tmp_path / "other", shared_only=True)) == 2


def test_a_copy_of_a_file_is_no_launch(tmp_path: Path) -> None:
    one = side(tmp_path / "one", [sglang(), sglang(1.002), sglang()])
    made = only(one, side(tmp_path / "other", [sglang(pace) for pace in PACES]))
    assert made.verdict is Verdict.MISSING
    assert made.reason.endswith("run-2.jsonl hold the same result: a copy is no launch")


def test_files_of_one_side_must_agree(tmp_path: Path) -> None:
    mixed = side(tmp_path / "one", [sglang(), sglang(backend="vllm"), sglang()])
    assert "files of one side differ: backend differs" in only(mixed, mixed).reason


def test_without_a_margin_or_a_metric_nothing_is_judged(tmp_path: Path) -> None:
    one = side(tmp_path / "one", [vllm(pace) for pace in PACES])
    assert "no margin was given" in only(one, one, margin=None).reason
    made = only(one, one, metrics=["median_e2e_ms"])
    assert (made.verdict, made.reason) == (Verdict.MISSING, "neither side has median_e2e_ms")


def test_files_that_are_no_results_are_refused(tmp_path: Path) -> None:
    folder = side(tmp_path / "one", [sglang()] * 2)
    (folder / "run-1.jsonl").write_text(json.dumps(sglang())[:-40])
    with pytest.raises(RecordError, match=r"run-1\.jsonl: is no result of a serving benchmark"):
        read_given(folder)
    (folder / "run-1.jsonl").write_text(json.dumps(sglang()) + "\n" + json.dumps(sglang())[:-40])
    with pytest.raises(RecordError, match=r"run-1\.jsonl:2: is not whole JSON"):
        read_given(folder)
    (folder / "run-1.jsonl").write_text(json.dumps(sglang()) + '\n{"other": 1}\n')
    with pytest.raises(RecordError, match=r"run-1\.jsonl:2: is no result of SGLang's or vLLM's"):
        read_given(folder)


def test_the_command_speaks_in_words_json_and_exit_codes(tmp_path: Path) -> None:
    one = side(tmp_path / "one", [sglang(pace) for pace in PACES])
    slow = side(tmp_path / "slow", [sglang(pace * 1.2) for pace in PACES])
    done = servegate("compare", one, slow, "--margin", "0.05", "--launches", "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert (done.returncode, document["verdict"], document["exit_code"]) == (1, "regressed", 1)
    [load] = document["comparisons"]
    assert (load["reference_files"], load["files"]) == (3, 3)
    itl = next(one for one in load["metrics"] if one["name"] == "median_itl_ms")
    assert itl["ratio"] == pytest.approx(1.2)
    done = servegate("compare", one, slow, "--margin", "0.05", cwd=tmp_path)
    assert done.returncode == 3
    assert "median ITL: 9.603 against 8.003 ms, +20.0 %" in done.stdout
    done = servegate("compare", one, slow, "--metric", "itl", cwd=tmp_path)
    assert (done.returncode, "--metric itl: a benchmark has no such" in done.stderr) == (2, True)
    (tmp_path / "notes.txt").write_text("slow today")
    done = servegate("compare", one, tmp_path / "notes.txt", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is not a result that servegate reads" in done.stderr
