"""The printed script is what the cell did, safely quoted, and runs."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evals.accuracy.settings import AccuracySettings
from launchers.server.ports import free_port
from pipeline.cli.app import app
from pipeline.plan.model import Plan
from pipeline.plan.script import repro_script, sgl_eval_argv, sgl_eval_differs
from pipeline.records.folder import RunFolder
from tests.pipeline.builders import make_plan_for_test, make_run
from tests.pipeline.runs import accuracy_job, experiment, processes_of, servegate

NASTY = "a b'c\"d$(touch broken)`touch broken`\n&;"


def script(plan: Plan, job: str, arm: str = "mixed-comm", port: int = 31017) -> str:
    launch = next(one for one in plan.launches if one.arm == arm)
    cell = next(one for one in launch.cells if one.job == job)
    return repro_script(plan, launch, cell, port=port)


def is_bash(text: str) -> bool:
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    return (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("job", ["gsm8k", "latency", "logprobs", "comm", "thrice"])
@pytest.mark.parametrize("engine", ["sglang", "fake"])
def test_every_kind_of_job_is_bash(job: str, engine: str) -> None:
    latency = {"kind": "latency", "input_len": 128, "output_len": 32, "concurrency": 8}
    jobs: dict[str, Any] = {
        "gsm8k": {"kind": "accuracy"}, "latency": latency, "thrice": {**latency, "runs": 3},
        "logprobs": {"kind": "logprobs"},
        "comm": {"kind": "comm-kernels", "capture": "nsys" if engine == "sglang" else "torch"},
    }  # fmt: skip
    plan = make_plan_for_test(jobs=jobs, gates={}, engine=engine)
    launch = next(one for one in plan.launches for cell in one.cells if cell.job == job)
    cell = next(one for one in launch.cells if one.job == job)
    text = repro_script(plan, launch, cell, port=31017)
    assert is_bash(text)
    assert "{port}" not in text
    assert "31017" in text


@pytest.mark.parametrize(("forbidden", "off"), [("1", "0"), ("", "unset")])
def test_a_host_that_forbids_multicast_is_obeyed(forbidden: str, off: str) -> None:
    """Run as far as the server, of which only the environment is printed."""
    before = script(make_plan_for_test(), "latency").split("# The server")[0]
    done = subprocess.run(
        ["bash", "-c", before + 'echo "${NCCL_NVLS_ENABLE:-unset}"'],
        env={"PATH": os.environ["PATH"], "SERVEGATE_FORBID_MULTICAST": forbidden},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [off]


def test_the_server_is_the_plans() -> None:
    plan = make_plan_for_test()
    launch = next(one for one in plan.launches if one.arm == "mixed-comm")
    text = script(plan, "latency")
    body = text.split("setsid ")[1].split(">server.log")[0].replace('"$PYTHON"', plan.python)
    words = shlex.split(body.replace("\\\n", " "))
    argv = [word.replace("{port}", "31017") for word in launch.argv]
    assert words[-len(argv) :] == argv
    assert f"ARM={launch.env['ARM']}" in words
    unset = [words[i + 1] for i, word in enumerate(words) if word == "-u"]
    assert unset == launch.env_unset
    assert "python3 -m sglang.benchmark.serving" in text.replace('"$PYTHON"', "python3")


def test_what_an_experiment_says_stays_text(tmp_path: Path) -> None:
    plan = make_plan_for_test()
    launches = [
        one.model_copy(update={"env": {**one.env, "NASTY": NASTY}, "argv": [*one.argv, NASTY]})
        for one in plan.launches
    ]
    plan = plan.model_copy(update={"launches": launches, "experiment": "x\nrm -rf everything"})
    text = script(plan, "latency")
    assert is_bash(text)
    assert "\nrm -rf" not in text
    prefix = text.split(">server.log")[0].split("setsid ")[1].rstrip(" \\\n")
    shown = [sys.executable, "-c", "import sys, os; print(repr(os.environ['NASTY']), sys.argv[-1])"]
    words = shlex.split(prefix.replace("\\\n", " ").replace('"$PYTHON"', "X").replace("$PWD", "."))
    assert [word for word in words if word == f"NASTY={NASTY}"]
    assert words[-1] == NASTY
    done = subprocess.run(
        ["bash", "-c", f"NASTY={shlex.quote(NASTY)} {shlex.join(shown)} {shlex.quote(NASTY)}"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{NASTY!r} {NASTY}\n"
    assert not list(tmp_path.iterdir())


def test_runs_of_the_benchmark_are_commands_of_their_own() -> None:
    job = {"kind": "latency", "input_len": 8, "output_len": 8, "concurrency": 1, "runs": 3}
    text = script(make_plan_for_test(jobs={"latency": job}, gates={}), "latency")
    assert text.count("-m sglang.benchmark.serving") == 3
    assert [f"bench-{run}.jsonl" in text for run in (1, 2, 3, 4)] == [True, True, True, False]


def test_sgl_eval_says_what_it_cannot() -> None:
    plain = AccuracySettings(kind="accuracy", benchmark="gsm8k")
    [only] = sgl_eval_differs(plain)
    assert "failed request" in only
    assert sgl_eval_argv(plain, "http://h:1", "m")[:5] == [
        "sgl-eval", "run", "gsm8k", "--base-url", "http://h:1/v1",
    ]  # fmt: skip
    other = AccuracySettings(
        kind="accuracy", benchmark="gsm8k", data="x.jsonl", examples=100, api="completion",
        few_shot=8, stop=["Q:"], chat_template_kwargs={"enable_thinking": True},
    )  # fmt: skip
    assert len(sgl_eval_differs(other)) == 6
    argv = sgl_eval_argv(other, "http://h:1", "m")
    assert argv[argv.index("--num-examples") + 1] == "100"
    assert argv[argv.index("--chat-template-kwarg") + 1] == "enable_thinking=true"


def test_sgl_eval_knows_these_flags() -> None:
    settings = AccuracySettings(
        kind="accuracy", benchmark="gsm8k", examples=1, seed=1, prompt="math",
        chat_template_kwargs={"a": 1},
    )  # fmt: skip
    code = "import sys; from sgl_eval.cli import main; sys.exit(main())"
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, "run", "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    flags = [word for word in sgl_eval_argv(settings, "u", "m") if word.startswith("--")]
    assert flags
    assert not [flag for flag in flags if flag not in told]


def test_an_unknown_cell_is_refused(tmp_path: Path) -> None:
    folder = make_run(make_plan_for_test()).write(tmp_path)
    done = CliRunner().invoke(app, ["repro", str(folder.root), "00-nccl-dp2/other"])
    assert done.exit_code == 2
    assert "it has 00-nccl-dp2/gsm8k" in done.output


def test_the_port_is_that_of_the_run(tmp_path: Path) -> None:
    folder = make_run(make_plan_for_test()).write(tmp_path)
    place = folder.launch("00-nccl-dp2")
    place.root.mkdir(parents=True, exist_ok=True)
    place.launch.write_text(json.dumps({"port": 31234}), encoding="utf-8")
    command = ["repro", str(folder.root), "00-nccl-dp2/latency"]
    assert "--port 31234" in CliRunner().invoke(app, command).stdout
    assert "--port 999" in CliRunner().invoke(app, [*command, "--port", "999"]).stdout


def test_the_script_really_runs(tmp_path: Path) -> None:
    """Against the fake engine: both kinds of job, and nothing is left alive."""
    jobs = {
        "latency": {
            "kind": "latency", "input_len": 8, "output_len": 8, "concurrency": 2, "prompts": 8,
            "deadline_s": 60,
        },
        "gsm8k": accuracy_job(),
    }  # fmt: skip
    file = experiment(tmp_path, jobs=jobs, gates={}, layouts=[{"tp": 2, "attention_dp": [2]}])
    made = json.loads(servegate("plan", file, "--json", cwd=tmp_path).stdout)
    plan = Plan.model_validate(made)
    (tmp_path / "run").mkdir()
    folder = RunFolder(tmp_path / "run")
    folder.plan.write_text(plan.model_dump_json(), encoding="utf-8")
    for job, left in (("latency", "bench-1.jsonl"), ("gsm8k", "answers.jsonl")):
        cell = f"{plan.launches[0].id}/{job}"
        port = str(free_port("127.0.0.1"))
        done = servegate("repro", folder.root, cell, "--port", port, cwd=tmp_path)
        assert is_bash(done.stdout)
        ran = subprocess.run(
            ["bash"], input=done.stdout, cwd=tmp_path, capture_output=True, text=True, check=False,
            timeout=120, env={**os.environ, "TMPDIR": str(tmp_path), "CLIENT": "servegate"},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        where = Path(ran.stdout.rsplit("files are in ", 1)[1].strip())
        assert (where / left).stat().st_size > 0
        assert processes_of(where) == []
