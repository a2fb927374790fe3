"""`servegate compare`: runs of servegate and of sgl-eval, question by question."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evals.job import Mark
from tests.evals.fake import fake_engine
from tests.pipeline.builders import make_plan_for_test, make_run
from tests.pipeline.runs import QUESTIONS, accuracy_job, experiment, only_run, servegate

JOBS = {"gsm8k": {"kind": "accuracy"}}
GATES = {"gsm8k": {"score": {"margin": 0.03}}}


def made_run(folder: Path, wrong_every: dict[str, int], **details: Any) -> Path:
    """A run of two arms on two layouts; of 400 questions every n-th is wrong in an arm."""

    def mark(arm: str, dp: int, question: int, repeat: int) -> Mark:
        return "wrong" if question % wrong_every[arm] == 0 else "correct"

    plan = make_plan_for_test(arms=tuple(wrong_every), launches=1, jobs=JOBS, gates=GATES)
    made = make_run(plan, mark=mark, questions=400)
    for cell, record in list(made.records.items()):
        made.change(cell, details={**record.details, **details})
    return made.write(folder).root


def compare(*words: str | Path, cwd: Path) -> tuple[int, dict[str, Any]]:
    done = servegate("compare", *words, "--json", cwd=cwd)
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, document


def test_equal_runs_pass_at_the_margin_of_the_reference_run(tmp_path: Path) -> None:
    one = made_run(tmp_path / "a", {"nccl": 5, "mixed-comm": 5})
    two = made_run(tmp_path / "b", {"nccl": 5, "mixed-comm": 5})
    code, document = compare(one, two, cwd=tmp_path)
    assert (code, document["verdict"], document["exit_code"]) == (0, "pass", 0)
    places = [(c["pairing"]["arm"], c["pairing"]["layout"]) for c in document["comparisons"]]
    assert len(places) == len(set(places)) == 4  # two arms on two layouts, each with itself
    assert {c["margin"] for c in document["comparisons"]} == {0.03}


def test_a_loss_between_two_runs_is_regressed_and_its_flips_are_kept(tmp_path: Path) -> None:
    one = made_run(tmp_path / "a", {"nccl": 5, "mixed-comm": 5})
    two = made_run(tmp_path / "b", {"nccl": 5, "mixed-comm": 3})
    code, document = compare(one, two, "--flips", tmp_path / "flips.jsonl", cwd=tmp_path)
    assert (code, document["verdict"]) == (1, "regressed")
    verdicts = {c["pairing"]["arm"]: c["verdict"] for c in document["comparisons"]}
    assert verdicts == {"nccl": "pass", "mixed-comm": "regressed"}
    # Of 400: wrong in fives 80, in threes 134, both 27; on two layouts.
    rows = [json.loads(line) for line in (tmp_path / "flips.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * (107 + 53)
    text = servegate("compare", one, two, cwd=tmp_path).stdout
    assert "107 lost, 53 gained: discordance 40.00%" in text
    assert "score -13.50 points" in text
    assert text.rstrip().endswith("verdict: regressed")


def test_arms_of_one_run_are_compared_when_named(tmp_path: Path) -> None:
    run = made_run(tmp_path / "a", {"nccl": 5, "mixed-comm": 3})
    code, document = compare(
        run, run, "--reference-arm", "nccl", "--arm", "mixed-comm", cwd=tmp_path
    )
    assert (code, len(document["comparisons"])) == (1, 2)


def test_other_sampling_settings_are_shown_and_not_judged(tmp_path: Path) -> None:
    one = made_run(tmp_path / "a", {"nccl": 5, "x": 5}, generation={"temperature": 0.0})
    two = made_run(tmp_path / "b", {"nccl": 5, "x": 5}, generation={"temperature": 0.6})
    code, document = compare(one, two, cwd=tmp_path)
    assert (code, document["verdict"]) == (3, "missing")
    first = document["comparisons"][0]
    assert "not comparable: temperature differs (0.0 against 0.6)" in first["reason"]
    assert first["pairing"]["settings"] == [
        {"name": "temperature", "reference": "0.0", "arm": "0.6"}
    ]
    code, document = compare(one, two, "--any-settings", cwd=tmp_path)
    assert code == 0
    assert "although temperature differs" in document["comparisons"][0]["reason"]


def marked_by(run: Path, marker: str, response: str) -> Path:
    """The run as a marker left it that read nothing in any answer, and with these texts."""
    for file in run.glob("launches/*/cells/*/record.json"):
        record = json.loads(file.read_text())
        file.write_text(json.dumps({**record, "details": {**record["details"], "grader": marker}}))
    for file in run.glob("launches/*/cells/*/answers.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        said = [{**row, "expected": "7", "mark": "no_answer", "response": response} for row in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in said))
    return run


def test_runs_of_two_versions_of_the_marker_are_marked_anew_where_texts_are_kept(
    tmp_path: Path,
) -> None:
    arms = {"nccl": 5, "x": 5}
    one, two, mute = (made_run(tmp_path / name, arms) for name in ("a", "b", "c"))
    marked_by(one, "servegate marker 2 over a/b@c0ffee, math-verify 1", "It is 7, so \\boxed{7}.")
    marked_by(two, "servegate marker 3 over a/b@c0ffee, math-verify 1", "The answer is 7.")
    code, document = compare(one, two, cwd=tmp_path)
    assert (code, document["verdict"]) == (0, "pass")
    first = document["comparisons"][0]
    assert first["pairing"]["settings"] == []
    assert first["notes"] == ["servegate: all answers are marked anew by one marker"]
    marked_by(mute, "servegate marker 3 over a/b@c0ffee, math-verify 1", "(sha256 0123456789ab)")
    code, document = compare(one, mute, cwd=tmp_path)
    assert (code, document["verdict"]) == (3, "missing")
    assert "was not kept, so that it cannot be marked anew" in document["comparisons"][0]["reason"]


def test_a_run_with_a_record_that_does_not_count_is_not_judged(tmp_path: Path) -> None:
    one = made_run(tmp_path / "a", {"nccl": 5, "x": 5})
    two = made_run(tmp_path / "b", {"nccl": 5, "x": 5})
    [path] = two.glob("launches/*-x-dp2/cells/gsm8k/record.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "status": "failed", "reason": "it broke"}))
    code, document = compare(one, two, cwd=tmp_path)
    assert code == 3
    assert sum(c["verdict"] == "missing" for c in document["comparisons"]) == 1


def test_folders_with_nothing_in_common_are_refused_with_what_they_have(tmp_path: Path) -> None:
    one = made_run(tmp_path / "a", {"nccl": 5, "x": 5})
    two = made_run(tmp_path / "b", {"other": 5, "y": 5})
    done = servegate("compare", one, two, cwd=tmp_path)
    assert done.returncode == 2
    assert "the first has gsm8k nccl tp8-dp2-ep1" in done.stderr
    (tmp_path / "empty").mkdir()
    done = servegate("compare", one, tmp_path / "empty", cwd=tmp_path)
    assert done.returncode == 2
    assert "is not a result that servegate reads" in done.stderr


def sgl_eval(folder: Path, accuracy: float) -> Path:
    """sgl-eval's own command line against a fake engine that knows the forty sums."""
    folder.mkdir()
    questions = folder / "questions.jsonl"
    rows = [
        {
            "id": f"gsm8k-{n}",
            "problem": row["question"],
            "expected_answer": row["answer"].rsplit(" ", 1)[1],
        }
        for n, row in enumerate(QUESTIONS)
    ]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    told = {"accuracy": accuracy, "answers_file": [str(questions)]}
    with fake_engine(folder / "log", **told) as url:
        subprocess.run(
            [
                Path(sys.executable).with_name("sgl-eval"), "run", "gsm8k", "--base-url",
                f"{url}/v1", "--from-dataset", questions, "--max-tokens", "64", "--temperature",
                "0", "--top-p", "1", "--out-dir", folder / "out", "--num-threads", "8",
            ],
            check=True, capture_output=True, timeout=120, cwd=folder,
        )  # fmt: skip
    [run] = (folder / "out").iterdir()
    return run


def test_results_of_sgl_evals_own_command_are_compared(tmp_path: Path) -> None:
    good, bad = sgl_eval(tmp_path / "good", 1.0), sgl_eval(tmp_path / "bad", 0.5)
    code, document = compare(good, good, "--margin", "0.1", cwd=tmp_path)
    assert (code, document["comparisons"][0]["pairing"]["questions"]) == (0, 40)
    code, document = compare(good, bad, "--margin", "0.1", cwd=tmp_path)
    assert (code, document["verdict"]) == (1, "regressed")
    own = json.loads((bad / "metrics.json").read_text())["aggregate"]["score"]
    lost = document["comparisons"][0]["pairing"]["lost"]
    assert 1 - lost / 40 == pytest.approx(own)  # sgl-eval's own score, from our flips
    # No margin: nothing is judged. A sample missing: nothing is compared.
    assert compare(good, bad, cwd=tmp_path)[1]["verdict"] == "missing"
    output = bad / "output-rs0.jsonl"
    output.write_text("".join(output.read_text("utf-8").splitlines(keepends=True)[1:]), "utf-8")
    done = servegate("compare", good, bad, cwd=tmp_path)
    assert done.returncode == 2
    assert "holds 39 samples, and metrics.json says 40" in done.stderr


def test_a_run_of_servegate_is_compared_with_one_of_sgl_eval(tmp_path: Path) -> None:
    theirs = sgl_eval(tmp_path / "theirs", 1.0)
    file = experiment(
        tmp_path,
        engine={"name": "fake", "fake": {"accuracy": 1.0}},
        jobs={"gsm8k": accuracy_job()},
        gates={"gsm8k": {"score": {"margin": 0.2}}},
    )
    servegate("run", file, "--out", tmp_path / "runs", cwd=tmp_path)
    code, document = compare(only_run(tmp_path), theirs, "--any-settings", cwd=tmp_path)
    assert code == 0, document
    assert [c["pairing"]["reference"] for c in document["comparisons"]] == ["nccl", "other"]
