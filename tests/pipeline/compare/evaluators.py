"""Run folders as other evaluators write them, about one set of made-up questions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

COUNT = 80
QUESTIONS = [
    f"A crate holds {n + 3} rows of {n % 7 + 2} jars.\nHow many jars are in crate number {n}?"
    for n in range(COUNT)
]
RIGHT = [str((n + 3) * (n % 7 + 2)) for n in range(COUNT)]
DATE = "2026-03-04T05-06-07.000008"

Said = Callable[[int], str]
"""The number that a model gives to a question."""


def wrong_every(step: int) -> Said:
    """A model that is wrong by one in every step-th question."""
    return lambda n: str(int(RIGHT[n]) + (n % step == 0))


def lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def sgl_eval_run(
    folder: Path,
    said: Said,
    *,
    gen: Mapping[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Path:
    """As ``sgl-eval run`` leaves it."""
    rows = [
        {
            "generation": f"So it is \\boxed{{{said(n)}}}.",
            "reasoning_content": None,
            "id": f"jars-{n}",
            "expected_answer": RIGHT[n],
            "num_generated_tokens": 9,
            "num_reasoning_tokens": 0,
            "num_answer_tokens": 9,
            "finish_reason": "stop",
            "problem": QUESTIONS[n],
            "predicted_answer": said(n),
            "symbolic_correct": said(n) == RIGHT[n],
        }
        for n in range(COUNT)
    ]
    lines(folder / "output-rs0.jsonl", rows)
    metrics = {
        "name": "jars",
        "n_repeats": 1,
        "num_examples": COUNT,
        "num_threads": 8,
        "latency_seconds": 3.5,
        "aggregate": {"score": 0.9},
        "timestamp": "20260304-050607",
        "model": "/models/a/Some-8B",
        "base_url": "http://127.0.0.1:1/v1",
        "sgl_eval_version": "0.1.3",
        "gen": {"temperature": 0.6, "max_tokens": 512, "seed": None} | dict(gen or {}),
    } | dict(meta or {})
    (folder / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    return folder


def lm_eval_run(
    folder: Path,
    said: Said,
    *,
    text: Callable[[str], str] = "They are many jars.\n#### {}".format,
    shots: str = "",
    arguments: Mapping[str, Any] | None = None,
    strict: Said | None = None,
    count: int = COUNT,
) -> Path:
    """As ``lm_eval run --log_samples`` leaves it: a line a document and filter."""
    rows: list[dict[str, Any]] = []
    for name, marks in (("strict-match", strict or said), ("flexible-extract", said)):
        rows += [
            {
                "doc_id": n,
                "doc": {"question": QUESTIONS[n], "answer": f"Some steps.\n#### {RIGHT[n]}"},
                "target": f"Some steps.\n#### {RIGHT[n]}",
                "arguments": {
                    "gen_args_0": {
                        "arg_0": f"{shots}Question: {QUESTIONS[n]}\nAnswer:",
                        "arg_1": {"until": ["Question:"], "do_sample": False, "temperature": 0.0}
                        | dict(arguments or {}),
                    }
                },
                "resps": [[text(said(n))]],
                "filtered_resps": [marks(n)],
                "filter": name,
                "metrics": ["exact_match"],
                "exact_match": float(marks(n) == RIGHT[n]),
            }
            for n in range(count)
        ]
    lines(folder / "org__model" / f"samples_jars_{DATE}.jsonl", rows)
    results = {
        "results": {"jars": {"exact_match,strict-match": 0.9}},
        "configs": {"jars": {"task": "jars", "num_fewshot": 5, "repeats": 1}},
        "versions": {"jars": 3.0},
        "n-shot": {"jars": 5},
        "n-samples": {"jars": {"original": COUNT, "effective": COUNT}},
        "config": {
            "model": "local-completions",
            "batch_size": 1,
            "random_seed": 0,
            "model_args": "model=org/model,base_url=http://127.0.0.1:1,num_concurrent=8",
        },
        "date": 1.0,
        "git_hash": "0123",
        "lm_eval_version": "0.4.13",
        "total_evaluation_time_seconds": "12.5",
    }
    (folder / "org__model" / f"results_{DATE}.json").write_text(json.dumps(results, indent=2))
    return folder


def evalscope_run(
    folder: Path,
    said: Said,
    *,
    order: Sequence[int] = range(COUNT),
    texts: bool = True,
    own_mark: Callable[[int], bool] | None = None,
    generation: str = "{temperature: 0.0, max_tokens: 512}",
) -> Path:
    """As evalscope 1.14 leaves it: predictions, reviews and the configuration."""
    reviews, predictions = [], []
    for index, n in enumerate(order):
        text = f"Count them.\n\\boxed{{{said(n)}}}" if texts else ""
        right = said(n) == RIGHT[n] if own_mark is None else own_mark(n)
        prompt = f"{QUESTIONS[n]}\nPlease reason step by step, and box your answer."
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}]
        score = {
            "value": {"acc": float(right)},
            "extracted_prediction": said(n),
            "prediction": text or None,
            "main_score_name": "acc",
            "status": "success",
        }
        reviews.append(
            {
                "index": index,
                "target": [RIGHT[n]],
                "messages": messages,
                "sample_score": {"score": score, "sample_id": index, "group_id": index},
            }
        )
        choice = {"message": {"role": "assistant", "content": text}, "stop_reason": "stop"}
        predictions.append(
            {"index": index, "model": "m", "model_output": {"choices": [choice], "error": None}}
        )
    lines(folder / "reviews" / "m" / "jars_main.jsonl", reviews)
    lines(folder / "predictions" / "m" / "jars_main.jsonl", predictions)
    (folder / "configs").mkdir()
    (folder / "configs" / "task_config.yaml").write_text(
        f"model: m\nmodel_id: m\ndatasets: [jars]\nrepeats: 1\nwork_dir: {folder}\n"
        f"generation_config: {generation}\neval_batch_size: 4\nevalscope_version: 1.14.1\n"
    )
    return folder


def nemo_run(
    folder: Path, said: Said, *, repeats: int = 1, order: Sequence[int] = range(COUNT)
) -> Path:
    """As ``ns eval`` leaves a benchmark's folder."""
    for repeat in range(repeats):
        rows = [
            {
                "generation": f"So \\boxed{{{said(n)}}}",
                "num_generated_tokens": 7,
                "generation_time": 0.5,
                "problem": QUESTIONS[n],
                "expected_answer": int(RIGHT[n]),
                "predicted_answer": said(n),
                "symbolic_correct": said(n) == RIGHT[n],
            }
            for n in order
        ]
        lines(folder / f"output-rs{repeat}.jsonl", rows)
    (folder / "metrics.json").write_text(json.dumps({"jars": {"pass@1": {"num_entries": COUNT}}}))
    return folder
