"""An accuracy job as sgl-eval's own command line, and in what that differs; pure."""

from __future__ import annotations

import json

from evals.accuracy_settings import AccuracySettings

__all__ = ["sgl_eval_argv", "sgl_eval_differs"]


def sgl_eval_argv(settings: AccuracySettings, base_url: str, model: str) -> list[str]:
    """``sgl-eval run`` as near to a job as its flags go (sgl-eval 0.1.3).

    Args:
        settings: The job's.
        base_url: The server's, without /v1.
        model: The served model's name.
    """
    argv = [
        "sgl-eval", "run", settings.benchmark,
        "--base-url", f"{base_url}/v1",
        "--model", model,
        "--n-repeats", str(settings.repeats),
        "--num-threads", str(settings.concurrency),
        "--max-tokens", str(settings.max_tokens),
        "--temperature", str(settings.temperature),
        "--top-p", str(settings.top_p),
        "--out-dir", ".",
    ]  # fmt: skip
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
            "it counts failed requests by rules of its own; servegate never as wrong answers",
        ),
    ]
    return [text for differs, text in asked if differs]
