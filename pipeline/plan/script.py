"""The script of one cell: server, wait until it generates, client, stop; pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from evals import JOBS
from evals.accuracy.settings import AccuracySettings
from evals.job import Endpoint, JobSettings
from evals.latency.job import plain_argv, uses_own_client
from evals.latency.outcome import bench_file
from evals.latency.settings import LatencySettings
from launchers.server.health import SGLANG_HEALTH
from pipeline.plan.model import Cell, Launch, Plan
from servegate_sglang.mixed_comm.requirements import FORBID_VARIABLE, MULTICAST_OFF


def sgl_eval_argv(settings: AccuracySettings, base_url: str, model: str) -> list[str]:
    """``sgl-eval run`` as near to a job as its flags go (sgl-eval 0.1.3).

    Args:
        settings: The job's.
        base_url: The server's, without /v1.
        model: The served model's name.
    """
    argv = [
        "sgl-eval",
        "run",
        settings.benchmark,
        "--base-url",
        f"{base_url}/v1",
        "--model",
        model,
        "--n-repeats",
        str(settings.repeats),
        "--num-threads",
        str(settings.concurrency),
        "--max-tokens",
        str(settings.max_tokens),
        "--temperature",
        str(settings.temperature),
        "--top-p",
        str(settings.top_p),
        "--out-dir",
        ".",
    ]
    if settings.examples is not None:
        argv += ["--num-examples", str(settings.examples)]
    if settings.seed is not None:
        argv += ["--seed", str(settings.seed)]
    if settings.prompt is not None:
        argv += ["--prompt", settings.prompt]
    for key, value in settings.chat_template_kwargs.items():
        argv += ["--chat-template-kwarg", f"{key}={json.dumps(value)}"]
    return argv


def sgl_eval_differs(settings: AccuracySettings) -> list[str]:
    """What sgl-eval's command line cannot say of a job; one sentence each."""
    asked: list[tuple[bool, str]] = [
        (
            settings.data is not None,
            f"it asks its own copy of {settings.benchmark}, the job asked {settings.data}",
        ),
        (
            settings.examples is not None,
            "it takes other questions: servegate's are a seeded sample, stratified by difficulty",
        ),
        (
            settings.api == "completion",
            "it asks /v1/chat/completions; the job asked /v1/completions, without a chat template",
        ),
        (settings.few_shot > 0, f"it shows no worked examples; the job showed {settings.few_shot}"),
        (settings.system is not None, f"it sends no system message; the job's: {settings.system}"),
        (bool(settings.stop), f"it sends no stop texts; the job's: {settings.stop}"),
        (settings.top_k is not None, f"it sends no top_k; the job's: {settings.top_k}"),
        (settings.min_p > 0, f"it sends no min_p; the job's: {settings.min_p}"),
        (settings.stages > 1, f"it asks everything; the job asked in {settings.stages} stages"),
        (
            True,
            "it marks answers and counts failed requests by rules of its own (docs/accuracy.md)",
        ),
    ]
    return [text for differs, text in asked if differs]


# The client's files go into the script's own folder, which it changes into.
_HERE = Path()


def repro_script(plan: Plan, launch: Launch, cell: Cell, *, port: int) -> str:
    """Bash that does what one cell did, on its own.

    Everything is as the plan has it, ports filled in. ``$PYTHON`` stands for the interpreter that
    has SGLang, so that the script runs on another machine.

    Args:
        plan: The run's plan.
        launch: One of its launches.
        cell: One of that launch's cells.
        port: Where the server listens.
    """
    base_url = f"http://{f'[{launch.host}]' if ':' in launch.host else launch.host}:{port}"
    lines = [
        *_head(plan, launch, cell),
        *_server(plan, launch, port),
        *_wait(launch, base_url),
        *_client(plan, cell, base_url),
        'echo "done; files are in $PWD"',
    ]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> Iterator[str]:
    """Text as comment lines; a line break in it must not become a command."""
    for line in text.splitlines():
        yield f"# {line}".rstrip()


def _head(plan: Plan, launch: Launch, cell: Cell) -> Iterator[str]:
    yield "#!/usr/bin/env bash"
    yield from _comment(
        f"Cell {cell.id} of {plan.experiment} (plan {plan.hash}): arm {launch.arm}, layout "
        f"{launch.layout}, job {cell.job}."
    )
    yield from _comment(
        f"Engine: {plan.engine} {plan.engine_version} on {plan.device}, model {plan.model.path}."
    )
    plugins = launch.env.get("SGLANG_PLUGINS", "none")
    if "servegate" in plugins:
        yield from _comment(
            f"SGLang loads {plugins}: servegate must be installed in its interpreter for that."
        )
    if launch.unsupported:
        yield from _comment(f"servegate did not start this: {launch.unsupported}")
    yield "set -euo pipefail"
    yield f"PYTHON=${{PYTHON:-{shlex.quote(plan.python)}}}  # has SGLang {plan.engine_version}"
    yield 'cd "$(mktemp -d)"'
    yield ""


def _words(plan: Plan, argv: Sequence[str]) -> str:
    """A command line, one flag a line; the engine's interpreter as $PYTHON."""
    quoted = ['"$PYTHON"' if word == plan.python else shlex.quote(word) for word in argv]
    text = ""
    for index, word in enumerate(quoted):
        flag = index > 0 and argv[index].startswith("--") and len(argv[index]) > 2
        text += (" \\\n    " if flag else " " if index else "") + word
    return text


def _server(plan: Plan, launch: Launch, port: int) -> Iterator[str]:
    argv = [word.replace("{port}", str(port)) for word in [*launch.under, *launch.argv]]
    unset = " ".join(f"-u {shlex.quote(name)}" for name in launch.env_unset)
    sets = [f"{name}={shlex.quote(value)}" for name, value in launch.env.items()]
    yield "# Where a host forbids multicast, the server must not take it either."
    yield f'if [ "${{{FORBID_VARIABLE}:-{launch.env.get(FORBID_VARIABLE, "")}}}" = 1 ]; then'
    yield f"    export {' '.join(f'{name}={value}' for name, value in MULTICAST_OFF.items())}"
    yield "fi"
    yield "# The server, in a session of its own, so that all it starts can be ended."
    yield "setsid env" + (f" {unset}" if unset else "") + " \\"
    for one in [*sets, 'SERVEGATE_WITNESS_DIR="$PWD"']:
        yield f"    {one} \\"
    yield f"    {_words(plan, argv)} \\"
    yield "    >server.log 2>&1 &"
    yield "server=$!"
    yield "stop() {"
    yield '    kill -TERM -- "-$server" 2>/dev/null || true'
    yield f"    for _ in $(seq {max(1, round(launch.stop_timeout_s))}); do"
    yield '        kill -0 -- "-$server" 2>/dev/null || return 0'
    yield "        sleep 1"
    yield "    done"
    yield '    kill -KILL -- "-$server" 2>/dev/null || true'
    yield "}"
    yield "trap stop EXIT"
    yield ""


def _wait(launch: Launch, base_url: str) -> Iterator[str]:
    body = shlex.quote(json.dumps(dict(SGLANG_HEALTH.generate_body)))
    url = shlex.quote(base_url + SGLANG_HEALTH.generate_path)
    yield "# Ready is a server that has generated a token."
    yield f"deadline=$((SECONDS + {round(launch.ready_timeout_s)}))"
    yield "until curl --noproxy '*' -sf -m 60 -o /dev/null -H 'Content-Type: application/json' \\"
    yield f"    -d {body} {url}; do"
    yield '    if ! kill -0 "$server" 2>/dev/null || [ "$SECONDS" -ge "$deadline" ]; then'
    yield '        echo "the server is not ready:" >&2'
    yield "        tail -n 40 server.log >&2"
    yield "        exit 1"
    yield "    fi"
    yield "    sleep 1"
    yield "done"
    yield ""


def _client(plan: Plan, cell: Cell, base_url: str) -> Iterator[str]:
    job = JOBS[cell.kind]
    settings: JobSettings = job.settings_type.model_validate(cell.settings)
    endpoint = Endpoint(
        base_url=base_url,
        model=plan.model.served_name,
        tokenizer=plan.model.tokenizer,
        engine=plan.engine,
        python=plan.python,
    )
    env = [f"{name}={shlex.quote(value)}" for name, value in job.env(settings, endpoint).items()]
    before = " ".join(["env", *env])
    yield "# The client does not see what was set for the server."
    yield "for name in $(compgen -e | grep -E '^(SGLANG_|SERVEGATE_WITNESS)' || true); do"
    yield '    unset "$name"'
    yield "done"
    if isinstance(settings, AccuracySettings):
        yield from _accuracy(plan, settings, endpoint, before)
        return
    if isinstance(settings, LatencySettings):
        files = [bench_file(_HERE, run) for run in range(1, settings.runs + 1)]
        commands = [plain_argv(settings, endpoint, file) for file in files]
        own = uses_own_client(settings, endpoint)
    else:
        commands, own = [job.argv(settings, endpoint, _HERE)], True
    if own:
        yield "# This client is servegate's own: it must be installed."
    for argv in commands:
        yield f"{before} {_words(plan, argv)}"


def _accuracy(
    plan: Plan, settings: AccuracySettings, endpoint: Endpoint, before: str
) -> Iterator[str]:
    """sgl-eval's own command, which anybody can run, and servegate's, which really ran."""
    whole = settings.model_copy(update={"stages": 1})
    yield "# CLIENT=servegate asks as the cell did, and needs servegate installed. sgl-eval asks"
    yield "# almost the same (pip install sgl-eval); it differs in this:"
    for text in sgl_eval_differs(settings):
        yield from _comment(f"- {text}")
    yield 'if [ "${CLIENT:-sgl-eval}" = servegate ]; then'
    yield f"    {before} {_words(plan, JOBS['accuracy'].argv(whole, endpoint, _HERE))}"
    yield "else"
    yield f"    {_words(plan, sgl_eval_argv(settings, endpoint.base_url, endpoint.model))}"
    yield "fi"
