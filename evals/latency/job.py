"""The latency job: SGLang's own serving benchmark, run one or more times on one launch."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from evals.job import Endpoint, JobSettings, Outcome, Progress
from evals.latency import sglang_runner
from evals.latency.outcome import MEASURED, Asked, bench_file, read_cell
from evals.latency.settings import LatencySettings

__all__ = ["LatencyJob", "LatencySettings", "never_measured", "plain_argv"]

_RUNNER = Path(sglang_runner.__file__).resolve()
_LARGEST_CHECKED = 50 * 2**20  # bytes of a ShareGPT file that a plan reads through

# What the settings already say; a second, different word for it in extra_args would be a trap.
_OURS = (
    "backend",
    "base-url",
    "host",
    "port",
    "model",
    "served-model-name",
    "tokenizer",
    "dataset-name",
    "dataset-path",
    "random-input-len",
    "random-input",
    "random-output-len",
    "random-output",
    "random-range-ratio",
    "max-concurrency",
    "num-prompts",
    "num-prompt",
    "request-rate",
    "warmup-requests",
    "flush-cache",
    "tokenize-prompt",
    "seed",
    "output-file",
    "output-details",
    "disable-stream",
)


class LatencyJob:
    """Runs ``sglang.benchmark.serving`` and reads the JSON that it leaves."""

    kind: str = "latency"
    settings_type: type[JobSettings] = LatencySettings
    gated: tuple[str, ...] = MEASURED
    alone: bool = False

    def defaults(self, name: str, settings: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Nothing follows from the job's name."""
        return dict(settings)

    def resolve(self, settings: JobSettings, base: Path) -> LatencySettings:
        """The data file made absolute against `base`."""
        ours = _ours(settings)
        if ours.dataset_path is None:
            return ours
        path = (base / Path(ours.dataset_path).expanduser()).resolve()
        return ours.model_copy(update={"dataset_path": str(path)})

    def check(self, settings: JobSettings) -> list[str]:
        """See :meth:`evals.job.Job.check`."""
        ours = _ours(settings)
        problems = _check_data(ours)
        if ours.num_prompts < ours.concurrency:
            problems.append(
                f"prompts: {ours.num_prompts} requests never put {ours.concurrency} in flight; "
                "set prompts to at least the concurrency"
            )
        if ours.drop_first_run and ours.runs < 2:
            problems.append("drop_first_run: the only run would be dropped; set runs to 2 or more")
        for name in ours.extra_args:
            plain = name.lstrip("-").replace("_", "-")
            if plain in _OURS:
                problems.append(f"extra_args.{name}: has a setting of its own here; use that")
            elif name.startswith("-"):
                problems.append(f"extra_args.{name}: write it without the dashes in front")
        return problems

    def missing(self, settings: JobSettings) -> list[str]:  # noqa: ARG002
        """Nothing but the files that :meth:`check` looks at; see :meth:`evals.job.Job.missing`."""
        return []

    def argv(self, settings: JobSettings, endpoint: Endpoint, cell: Path) -> list[str]:
        """SGLang's benchmark, its command line called anew for each run in one process.

        Starting it costs SGLang's imports, 25 s on a small machine. The process also samples how
        late its event loop is (see :mod:`evals.latency.sglang_runner`).
        """
        ours = _ours(settings)
        # The file's own name is the pattern: "{run}" stands for the number.
        pattern = str(cell / "bench-{run}.jsonl")
        if uses_own_client(ours, endpoint):
            return _builtin_argv(ours, endpoint, pattern)
        runner = [str(_RUNNER), "--runs", str(ours.runs), "--output", pattern]
        return [endpoint.python, *runner, "--", *_arguments(ours, endpoint)]

    def env(self, settings: JobSettings, endpoint: Endpoint) -> dict[str, str]:  # noqa: ARG002
        """Lines in the log as they are printed."""
        return {"PYTHONUNBUFFERED": "1"}

    def progress(self, settings: JobSettings, cell: Path) -> Progress:
        """Whole runs: the benchmark writes its file when a run is over."""
        ours = _ours(settings)
        files = (bench_file(cell, run) for run in range(1, ours.runs + 1))
        return Progress(done=sum(file.is_file() for file in files), total=ours.runs)

    def read(self, settings: JobSettings, cell: Path, returncode: int) -> Outcome:
        """Ok only when each run's file is there and no request of any run failed."""
        ours = _ours(settings)
        open_end = ours.extra_args.get("disable-ignore-eos") not in (None, False)
        varies = ours.range_ratio != 1 or open_end
        # As compute_random_lens of SGLang's datasets draws them.
        fewest = 1 if open_end else max(int(ours.output_len * ours.range_ratio), 1)
        return read_cell(
            cell,
            returncode,
            runs=ours.runs,
            skip=1 if ours.drop_first_run else 0,
            asked=Asked(
                prompts=ours.num_prompts,
                output_tokens=None if varies else ours.num_prompts * ours.output_len,
                concurrency=ours.concurrency,
                goal=ours.goodput,
                lengths=(fewest, ours.output_len),
            ),
        )


def plain_argv(settings: LatencySettings, endpoint: Endpoint, output: Path) -> list[str]:
    """One run as a user types it: the benchmark's own command, which samples no loop lag."""
    if uses_own_client(settings, endpoint):
        return _builtin_argv(settings.model_copy(update={"runs": 1}), endpoint, str(output))
    arguments = [*_arguments(settings, endpoint), "--output-file", str(output)]
    return [endpoint.python, "-m", "sglang.benchmark.serving", *arguments]


def never_measured(settings: LatencySettings) -> dict[str, str]:
    """Metrics that this load can never give, and why: a gate on one of them would only be missing.

    Returns:
        By metric, what to do about it.
    """
    found: dict[str, str] = {}
    if settings.goodput is None:
        why = "needs times to keep; set the job's goodput"
        found |= dict.fromkeys(("goodput", "slo_attainment"), why)
    if settings.request_rate is not None:
        why = "needs all requests at once, since the benchmark does not say when it sent them"
        found |= dict.fromkeys((name for name in MEASURED if name.startswith("steady_")), why)
    return found


def uses_own_client(settings: LatencySettings, endpoint: Endpoint) -> bool:
    """Whether servegate's own client loads the server, which is the fake engine."""
    return settings.client == "auto" and endpoint.engine == "fake"


def _ours(settings: JobSettings) -> LatencySettings:
    if not isinstance(settings, LatencySettings):
        raise TypeError(f"expected LatencySettings, got {type(settings).__name__}")
    return settings


def _check_data(settings: LatencySettings) -> list[str]:
    if settings.dataset == "random-ids":
        unread = settings.dataset_path is not None
        return ["dataset_path: the dataset random-ids reads no file; remove it"] if unread else []
    if settings.dataset_path is None:
        problem: str | None = (
            "needed by the dataset random (SGLang would download a file); give the path of a "
            "ShareGPT JSON file, or use random-ids"
        )
    else:
        problem = _share_gpt_problem(Path(settings.dataset_path), settings.num_prompts)
    return [] if problem is None else [f"dataset_path: {problem}"]


def _share_gpt_problem(path: Path, prompts: int) -> str | None:
    """Why SGLang would not take its prompts from this file, or fewer than asked."""
    if not path.is_file():
        return f"{path} does not exist; give a ShareGPT JSON file"
    if path.stat().st_size > _LARGEST_CHECKED:
        return None
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        usable = sum(
            len(row.get("conversations", row.get("conversation", []))) >= 2 for row in rows
        )
    except (ValueError, AttributeError, TypeError) as error:
        return (
            f"{path} is not a JSON list of conversations ({error}), and SGLang would download "
            "its own instead; give a ShareGPT JSON file"
        )
    if usable < prompts:
        return (
            f"{path} has {usable} conversations of two turns and prompts is {prompts}; give a "
            "larger file or fewer prompts"
        )
    return None


def _arguments(settings: LatencySettings, endpoint: Endpoint) -> list[str]:
    """Flags of sglang.benchmark.serving (0.5.16 to 0.5.23) but for the output file.

    ``--model`` is what it loads a chat template from, so it gets the tokenizer, and the server's
    name for the model goes into ``--served-model-name``.
    """
    rate = math.inf if settings.request_rate is None else settings.request_rate
    arguments = [
        "--backend",
        settings.backend,
        "--base-url",
        endpoint.base_url,
        "--model",
        endpoint.tokenizer,
        "--served-model-name",
        endpoint.model,
        "--tokenizer",
        endpoint.tokenizer,
        "--dataset-name",
        settings.dataset,
        "--random-input-len",
        str(settings.input_len),
        "--random-output-len",
        str(settings.output_len),
        "--random-range-ratio",
        str(settings.range_ratio),
        "--max-concurrency",
        str(settings.concurrency),
        "--num-prompts",
        str(settings.num_prompts),
        "--request-rate",
        str(rate),
        "--warmup-requests",
        str(settings.warmup_requests),
        "--seed",
        str(settings.seed),
        "--output-details",
    ]
    if settings.dataset_path is not None:
        arguments += ["--dataset-path", settings.dataset_path]
    if settings.flush_cache:
        arguments.append("--flush-cache")
    if settings.tokenize_prompt:
        arguments.append("--tokenize-prompt")
    for name, value in settings.extra_args.items():
        if value is None or value is False:
            continue
        arguments.append(f"--{name}")
        if value is not True:
            arguments.append(str(value))
    return arguments


def _builtin_argv(settings: LatencySettings, endpoint: Endpoint, output: str) -> list[str]:
    rate = math.inf if settings.request_rate is None else settings.request_rate
    return [
        sys.executable,
        "-P",
        "-m",
        "evals.latency.fake_client",
        "--base-url",
        endpoint.base_url,
        "--input-len",
        str(settings.input_len),
        "--output-len",
        str(settings.output_len),
        "--range-ratio",
        str(settings.range_ratio),
        "--concurrency",
        str(settings.concurrency),
        "--prompts",
        str(settings.num_prompts),
        "--request-rate",
        str(rate),
        "--warmup-requests",
        str(settings.warmup_requests),
        *(["--flush-cache"] if settings.flush_cache else []),
        "--seed",
        str(settings.seed),
        "--runs",
        str(settings.runs),
        "--output",
        output,
    ]
