"""`servegate compare` on what other evaluators keep: pairing, marking, settings, refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.compare import Comparison, Rules, judge_sides, matched, read_given
from pipeline.gate.model import Verdict
from pipeline.records.record import RecordError
from tests.pipeline.compare.evaluators import (
    COUNT,
    DATE,
    QUESTIONS,
    RIGHT,
    Said,
    evalscope_run,
    lines,
    lm_eval_run,
    nemo_run,
    sgl_eval_run,
    wrong_every,
)

GOOD = wrong_every(20)  # 95 % right
BAD = wrong_every(2)


def compared(one: Path, other: Path, **rules: Any) -> list[Comparison]:
    pairs = matched(read_given(one).sides, read_given(other).sides, reference_arm=None, arm=None)
    how = Rules(margin=0.1, alpha=0.05, **rules)
    return [judge_sides(left, right, how, alarms=len(pairs)) for left, right in pairs]


def only(one: Path, other: Path, **rules: Any) -> Comparison:
    [made] = compared(one, other, **rules)
    return made


@pytest.mark.parametrize(
    ("gen", "meta", "clause"),
    [
        ({"reasoning_effort": "low"}, {}, "reasoning_effort differs (not told against low)"),
        ({"temperature": 0.7}, {}, "temperature differs (0.6 against 0.7)"),
        ({"seed": 3}, {}, "seed differs (not told against 3)"),
        ({"extra_body": {"top_k": 20}}, {}, "top_k differs (not told against 20)"),
        ({"logit_floor": 0}, {}, "logit_floor differs (not told against 0)"),
        ({}, {"draft_model": "d"}, "draft_model differs (not told against d)"),
        ({}, {"prompt": {"spec": "p", "path": "/p", "yaml": "user: x"}}, "prompt differs (not t"),
        ({}, {"model": "/models/a/Some-4B"}, "model differs (Some-8B against Some-4B)"),
    ],
)
def test_a_setting_of_sgl_eval_that_differs_or_that_one_side_tells_is_missing_by_name(
    tmp_path: Path, gen: Mapping[str, Any], meta: Mapping[str, Any], clause: str
) -> None:
    one = sgl_eval_run(tmp_path / "one", GOOD)
    other = sgl_eval_run(tmp_path / "other", BAD, gen=gen, meta=meta)
    made = only(one, other)
    assert made.verdict is Verdict.MISSING
    assert clause in made.reason
    judged = only(one, other, any_settings=True)
    assert judged.verdict is Verdict.REGRESSED
    assert f"judged although {clause}" in judged.reason


def test_results_times_machine_and_places_are_no_settings(tmp_path: Path) -> None:
    one = sgl_eval_run(tmp_path / "one", GOOD)
    meta = {
        "timestamp": "20270101-000000",
        "latency_seconds": 9.0,
        "base_url": "http://other:9/v1",
        "model": "/mnt/elsewhere/Some-8B/",
        "num_threads": 64,
        "token_usage": {"x": {"mean": 1}},
        "preset": {"spec": "q", "path": "/q.yaml", "benchmark": "jars", "expected_score": 0.5},
    }
    made = only(one, sgl_eval_run(tmp_path / "other", GOOD, gen={"seed": None}, meta=meta))
    assert (made.verdict, made.pairing.lost if made.pairing else None) == (Verdict.PASS, 0)


def test_an_interrupted_run_of_sgl_eval_is_refused(tmp_path: Path) -> None:
    run = sgl_eval_run(tmp_path / "run", GOOD, meta={"partial": True})
    with pytest.raises(RecordError, match="was interrupted"):
        read_given(run)


def test_each_filter_of_lm_eval_is_compared_with_itself(tmp_path: Path) -> None:
    one = lm_eval_run(tmp_path / "one", GOOD)
    other = lm_eval_run(tmp_path / "other", GOOD, strict=BAD)
    verdicts = {made.pairing.job: made.verdict for made in compared(one, other) if made.pairing}
    assert verdicts == {
        "jars (exact_match, strict-match)": Verdict.REGRESSED,
        "jars (exact_match, flexible-extract)": Verdict.PASS,
    }


def test_other_examples_in_front_of_the_question_are_another_prompt(tmp_path: Path) -> None:
    one = lm_eval_run(tmp_path / "one", GOOD)
    other = lm_eval_run(tmp_path / "other", GOOD, shots="Question: 1+1?\nAnswer: 2\n\n")
    reasons = [made.reason for made in compared(one, other)]
    assert all("prompt differs" in reason for reason in reasons)
    assert all(f"on {COUNT} of {COUNT} questions" in reason for reason in reasons)


def test_generation_parameters_in_the_samples_count(tmp_path: Path) -> None:
    one = lm_eval_run(tmp_path / "one", GOOD)
    other = lm_eval_run(tmp_path / "other", GOOD, arguments={"max_gen_toks": 64})
    assert "max_tokens differs (not told against 64)" in compared(one, other)[0].reason


def test_a_part_of_a_run_of_lm_eval_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=f"holds {COUNT - 1} documents, and its results file"):
        read_given(lm_eval_run(tmp_path / "run", GOOD, count=COUNT - 1))


def test_evalscope_is_paired_by_question_whatever_the_order(tmp_path: Path) -> None:
    one = evalscope_run(tmp_path / "one", GOOD)
    other = evalscope_run(tmp_path / "other", GOOD, order=range(COUNT)[::-1])
    made = only(one, other)
    assert made.verdict is Verdict.PASS
    assert made.pairing is not None
    assert (made.pairing.lost, made.pairing.gained, made.pairing.questions) == (0, 0, COUNT)
    worse = evalscope_run(tmp_path / "worse", BAD, order=range(COUNT)[::-1])
    assert only(one, worse).verdict is Verdict.REGRESSED


def test_a_setting_of_evalscope_that_differs_is_missing_by_name(tmp_path: Path) -> None:
    one = evalscope_run(tmp_path / "one", GOOD)
    other = evalscope_run(tmp_path / "other", GOOD, generation="{temperature: 0.6}")
    reason = only(one, other).reason
    assert "temperature differs (0.0 against 0.6)" in reason
    assert "max_tokens differs (512 against not told)" in reason


def test_nemo_skills_repeats_are_paired_by_question(tmp_path: Path) -> None:
    one = nemo_run(tmp_path / "one", GOOD, repeats=2)
    other = nemo_run(tmp_path / "other", BAD, repeats=2, order=range(COUNT)[::-1])
    made = only(one, other)  # folders of any name: their questions tell what was asked
    assert made.verdict is Verdict.REGRESSED
    assert made.pairing is not None
    # Wrong in twos 40 of 80, in twenties 4 of those.
    assert (made.pairing.lost, sum(made.pairing.arm_marks.values())) == (36, 2 * COUNT)
    assert made.notes == ("NeMo-Skills keeps no settings beside its outputs",)


def test_benchmarks_of_one_folder_of_nemo_skills_are_paired_by_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        nemo_run(tmp_path / name / "jars", GOOD)
        choice_run(tmp_path / name, "ABCD")
    made = compared(tmp_path / "a", tmp_path / "b")
    jobs = [(one.pairing.job if one.pairing else "", one.verdict) for one in made]
    assert jobs == [("jars", Verdict.PASS), ("stones", Verdict.PASS)]


def test_other_numbers_of_repeats_are_missing_by_name(tmp_path: Path) -> None:
    one = nemo_run(tmp_path / "a" / "jars", GOOD, repeats=2)
    made = only(one, nemo_run(tmp_path / "b" / "jars", GOOD))
    assert "repeats differs (2 against 1)" in made.reason


def test_an_unfinished_or_mixed_run_of_nemo_skills_is_refused(tmp_path: Path) -> None:
    run = nemo_run(tmp_path / "jars", GOOD)
    (run / "output-rs1.jsonl-async").write_text("{}\n")
    with pytest.raises(RecordError, match="not finished"):
        read_given(run)
    (run / "output-rs1.jsonl-async").unlink()
    lines(run / "output-rs1.jsonl", [{"generation": "x", "problem": "?", "expected_answer": 1}])
    with pytest.raises(RecordError, match="holds other questions than output-rs0"):
        read_given(run)


def runs(folder: Path, said: Said) -> dict[str, Path]:
    return {
        "sgl-eval": sgl_eval_run(folder / "sgl", said),
        "lm-eval": lm_eval_run(folder / "lm", said),
        "evalscope": evalscope_run(folder / "scope", said, order=range(COUNT)[::-1]),
        "nemo": nemo_run(folder / "nemo" / "jars", said),
    }


def test_across_evaluators_answers_are_paired_by_content_and_marked_anew(tmp_path: Path) -> None:
    good, bad = runs(tmp_path / "good", GOOD), runs(tmp_path / "bad", BAD)
    for one in good:
        for other in good.keys() - {one}:
            made = only(good[one], good[other], any_settings=True)
            assert (one, other, made.verdict) == (one, other, Verdict.PASS), made.reason
            assert made.pairing is not None
            assert (made.pairing.questions, made.pairing.lost, made.pairing.gained) == (COUNT, 0, 0)
            assert any("marked anew by one marker" in note for note in made.notes)
            lost = only(good[one], bad[other], any_settings=True)
            assert (lost.verdict, lost.pairing.lost if lost.pairing else 0) == (
                Verdict.REGRESSED,
                36,
            )
            strict = only(good[one], good[other])
            assert (strict.verdict, "not comparable" in strict.reason) == (Verdict.MISSING, True)


def test_another_evaluators_own_marks_do_not_decide(tmp_path: Path) -> None:
    one = sgl_eval_run(tmp_path / "one", GOOD)
    lenient = evalscope_run(tmp_path / "lenient", BAD, own_mark=lambda _: True)
    assert only(one, lenient, any_settings=True).verdict is Verdict.REGRESSED


def test_without_texts_other_evaluators_answers_are_missing(tmp_path: Path) -> None:
    one = sgl_eval_run(tmp_path / "one", GOOD)
    mute = evalscope_run(tmp_path / "mute", GOOD, texts=False)
    made = only(one, mute, any_settings=True)
    assert (made.verdict, "kept no texts" in made.reason) == (Verdict.MISSING, True)
    assert only(mute, mute).verdict is Verdict.PASS  # its own marks agree with themselves


def test_answers_in_a_form_that_cannot_be_read_are_no_loss(tmp_path: Path) -> None:
    one = sgl_eval_run(tmp_path / "one", GOOD)
    other = lm_eval_run(tmp_path / "other", GOOD, text=lambda said: f"{said} jars, I should say")
    made = only(one, other, any_settings=True)
    assert made.verdict is Verdict.MISSING
    assert "no answer could be read" in made.reason


def likelihoods(folder: Path, right: int) -> Path:
    """A multiple-choice task of lm-eval: a pair of likelihood and greediness for each choice."""
    rows = [
        {
            "doc_id": n,
            "doc": {"question": QUESTIONS[n], "choices": ["3", "4"], "answer": 0},
            "target": "0",
            "arguments": {"gen_args_0": {"arg_0": "Q", "arg_1": " 3"}},
            "resps": [[["-1.5", "False"]], [["-2.5", "False"]]],
            "filtered_resps": [["-1.5", "False"], ["-2.5", "False"]],
            "filter": "none",
            "metrics": ["acc", "acc_norm"],
            "acc": float(n < right),
            "acc_norm": 0.0,
        }
        for n in range(COUNT)
    ]
    lines(folder / f"samples_jars_{DATE}.jsonl", rows)
    return folder


def test_choices_by_likelihood_are_compared_by_the_harness_own_marks(tmp_path: Path) -> None:
    one, other = likelihoods(tmp_path / "one", 76), likelihoods(tmp_path / "other", 40)
    made = only(one, other)
    assert (made.verdict, made.pairing.lost if made.pairing else 0) == (Verdict.REGRESSED, 36)


def choice_run(folder: Path, order: str) -> Path:
    """A NeMo-Skills run with four choices, the right one where `order` has its A."""
    texts = {"A": "blue", "B": "red", "C": "green", "D": "white"}
    rows = [
        {
            "problem": f"Which colour has stone number {n} of the long wall?\n\n"
            + "\n".join(f"{'ABCD'[at]}) {texts[one]}" for at, one in enumerate(order)),
            "expected_answer": "ABCD"[order.index("A")],
            "generation": f"Answer: {'ABCD'[order.index('A')]}",
            "predicted_answer": "ABCD"[order.index("A")],
            "symbolic_correct": True,
        }
        for n in range(COUNT)
    ]
    lines(folder / "stones" / "output.jsonl", rows)
    return folder


def test_choices_in_another_order_are_the_same_question_asked_otherwise(tmp_path: Path) -> None:
    one, other = choice_run(tmp_path / "one", "ABCD"), choice_run(tmp_path / "other", "CBAD")
    made = only(one, other)
    assert made.verdict is Verdict.MISSING
    assert f"order of choices differs (its own against another one in {COUNT}" in made.reason
    assert only(one, other, any_settings=True).verdict is Verdict.PASS
    assert only(one, choice_run(tmp_path / "same", "ABCD")).verdict is Verdict.PASS


def test_questions_of_one_side_alone_and_other_right_answers_are_told(tmp_path: Path) -> None:
    one = nemo_run(tmp_path / "one" / "jars", GOOD)
    fewer = nemo_run(tmp_path / "fewer" / "jars", GOOD, order=range(COUNT - 5))
    made = only(one, fewer)
    assert (made.verdict, "5 questions were asked on one side only" in made.reason) == (
        Verdict.MISSING,
        True,
    )
    assert only(one, fewer, shared_only=True).verdict is Verdict.PASS
    changed = nemo_run(tmp_path / "changed" / "jars", GOOD)
    path = changed / "output-rs0.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    rows[3]["expected_answer"] = 1
    lines(path, rows)
    assert "expects another answer" in only(one, changed).reason


def test_a_question_that_stands_twice_is_paired_as_often_as_it_stands(tmp_path: Path) -> None:
    twice = nemo_run(tmp_path / "twice" / "jars", GOOD, order=[*range(COUNT), 7])
    made = only(twice, nemo_run(tmp_path / "again" / "jars", GOOD, order=[7, *range(COUNT)]))
    assert made.pairing is not None
    assert (made.verdict, made.pairing.questions) == (Verdict.PASS, COUNT + 1)
    once = nemo_run(tmp_path / "once" / "jars", GOOD)
    assert "1 questions were asked on one side only" in only(twice, once).reason


def test_failed_requests_are_no_answers_and_are_told(tmp_path: Path) -> None:
    one = nemo_run(tmp_path / "one" / "jars", GOOD)
    broken = nemo_run(tmp_path / "broken" / "jars", GOOD)
    path = broken / "output-rs0.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    rows[5]["generation"] = None
    lines(path, rows)
    made = only(one, broken)
    assert (made.verdict, "1 requests failed" in made.reason) == (Verdict.MISSING, True)
    assert only(one, broken, shared_only=True).verdict is Verdict.PASS


def test_a_loss_that_the_reference_cannot_have_is_no_pass(tmp_path: Path) -> None:
    never = nemo_run(tmp_path / "one" / "jars", wrong_every(1))
    made = only(never, nemo_run(tmp_path / "other" / "jars", wrong_every(1)))
    assert (made.verdict, "could not be seen" in made.reason) == (Verdict.MISSING, True)


SEPARATORS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"


def test_line_separators_of_unicode_in_answers_end_no_line(tmp_path: Path) -> None:
    one = lm_eval_run(tmp_path / "one", GOOD, text=lambda said: f"a{SEPARATORS}b\n#### {said}")
    assert [made.verdict for made in compared(one, one)] == [Verdict.PASS, Verdict.PASS]


def cut(path: Path) -> None:
    """The last line half written."""
    path.write_bytes(path.read_bytes()[:-20])


def test_half_written_files_are_refused_by_name_and_line(tmp_path: Path) -> None:
    all_runs = runs(tmp_path, GOOD)
    files = {
        "sgl-eval": all_runs["sgl-eval"] / "output-rs0.jsonl",
        "lm-eval": all_runs["lm-eval"] / "org__model" / f"samples_jars_{DATE}.jsonl",
        "evalscope": all_runs["evalscope"] / "reviews" / "m" / "jars_main.jsonl",
        "nemo": all_runs["nemo"] / "output-rs0.jsonl",
    }
    last = {"lm-eval": 2 * COUNT}
    for tool, path in files.items():
        cut(path)
        where = f"{path.name}:{last.get(tool, COUNT)}: is not whole JSON"
        with pytest.raises(RecordError, match=where):
            read_given(all_runs[tool])
        path.write_bytes(b"")
        with pytest.raises(RecordError, match=f"{path.name}: is empty"):
            read_given(all_runs[tool])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"[1, 2]",
        b'{"a": 1}',
        b'{"a"',
        b"[" * 100_000,
        b'{"a": 1' + b"0" * 400 + b"}",
        b"null\nnull\n",
    ],
)
def test_anything_else_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    for name in ("x.json", "x.jsonl", f"samples_t_{DATE}.jsonl", "output-rs0.jsonl", "notes.txt"):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_bytes(content)
        for given in (folder, folder / name):
            with pytest.raises(RecordError) as refused:
                read_given(given)
            assert "\n" not in str(refused.value)


def test_two_tools_or_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    lm_eval_run(tmp_path / "two", GOOD)
    evalscope_run(tmp_path / "two", GOOD)
    with pytest.raises(RecordError, match="lm-evaluation-harness and of evalscope"):
        read_given(tmp_path / "two")
    lm_eval_run(tmp_path / "again", GOOD)
    path = tmp_path / "again" / "org__model" / f"samples_jars_{DATE}.jsonl"
    path.with_name("samples_jars_2026-04-04T05-06-07.000008.jsonl").write_bytes(path.read_bytes())
    with pytest.raises(RecordError, match=r"holds jars .* 2 times"):
        read_given(tmp_path / "again")
    assert len(read_given(path).sides) == 2  # the file itself says which


def test_scores_between_right_and_wrong_are_refused(tmp_path: Path) -> None:
    run = lm_eval_run(tmp_path / "run", GOOD)
    path = run / "org__model" / f"samples_jars_{DATE}.jsonl"
    text = path.read_text("utf-8").replace('"exact_match": 1.0', '"exact_match": 0.4', 1)
    path.write_text(text, "utf-8")
    with pytest.raises(RecordError, match=r"exact_match of document 1 is 0\.4"):
        read_given(run)
    assert RIGHT[1] == "12"
