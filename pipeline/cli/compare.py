"""`servegate compare`: two folders or files of results, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from evals.latency.results import BENCH_METRICS
from pipeline.cli.console import endings, stdout
from pipeline.compare import (
    DEFAULT_METRICS,
    Comparison,
    Given,
    NothingToCompare,
    Rules,
    Side,
    compare_loads,
    judge_sides,
    matched,
    read_given,
)
from pipeline.compare.text import flip_lines
from pipeline.compare.wording import answers_document, answers_lines, load_document, load_lines
from pipeline.gate.model import EXIT_CODES, Verdict, worst
from pipeline.records.record import RecordError, write_atomic

__all__ = ["compare"]


def compare(  # noqa: PLR0913, PLR0917 - typer makes an option of each
    reference: Annotated[Path, typer.Argument(help="What is held to be right.")],
    other: Annotated[Path, typer.Argument(help="What is judged against it.")],
    reference_arm: Annotated[
        str | None, typer.Option("--reference-arm", help="Only this arm of the first run.")
    ] = None,
    arm: Annotated[str | None, typer.Option("--arm", help="Only this arm of the second.")] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            min=0.0001,
            max=0.9999,
            help="Largest acceptable loss of score, 0.02 is 2 points, or worsening of a "
            "benchmark's metric, 0.02 is 2 %; default: the first run's.",
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option(min=0.0001, max=0.4999, help="One-sided error rate.")
    ] = 0.05,
    shared: Annotated[  # noqa: FBT002
        bool, typer.Option("--shared", help="Judge what both were asked, where one has more.")
    ] = False,
    any_settings: Annotated[  # noqa: FBT002
        bool, typer.Option("--any-settings", help="Judge although settings differ.")
    ] = False,
    launches: Annotated[  # noqa: FBT002
        bool, typer.Option("--launches", help="Each benchmark file is from a launch of its own.")
    ] = False,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", help=f"Of benchmarks, repeatable; default: {', '.join(DEFAULT_METRICS)}."
        ),
    ] = None,
    flips: Annotated[
        Path | None, typer.Option("--flips", help="Write every flip with both texts, as JSONL.")
    ] = None,
    as_json: Annotated[  # noqa: FBT002
        bool, typer.Option("--json", help="Print one JSON document on stdout.")
    ] = False,
) -> None:
    """Compare two runs, or results of other evaluators and serving benchmarks.

    Example: servegate compare runs/a/STAMP runs/b/STAMP --margin 0.02 --flips flips.jsonl
    """
    with endings():
        rules = Rules(margin=margin, alpha=alpha, shared_only=shared, any_settings=any_settings)
        given = read_given(reference), read_given(other)
        if bool(given[0].results) != bool(given[1].results):
            raise RecordError(
                f"{reference} and {other}: one holds answers, the other results of a benchmark"
            )
        if given[0].results:
            verdicts, documents, lines = _of_loads(given, rules, launches, _metrics(metric))
        else:
            verdicts, documents, lines = _of_answers(given, rules, reference_arm, arm, flips)
        verdict = worst(verdicts)
        if as_json:
            document = {
                "schema_version": 1,
                "verdict": verdict.value,
                "exit_code": EXIT_CODES[verdict],
                "comparisons": documents,
            }
            print(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            for line in [*lines, f"verdict: {verdict.value}"]:
                stdout().print(line, markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_CODES[verdict])


_Told = tuple[list[Verdict], list[dict[str, Any]], list[str]]


def _of_loads(
    given: tuple[Given, Given],
    rules: Rules,
    launches: bool,  # noqa: FBT001
    metrics: list[str],
) -> _Told:
    made = compare_loads(
        given[0].results, given[1].results, rules, launches=launches, metrics=metrics
    )
    sources = [str(one.source) for one in given]
    return (
        [one.verdict for one in made],
        [load_document(sources, one) for one in made],
        [line for one in made for line in load_lines(one)],
    )


def _metrics(named: list[str] | None) -> list[str]:
    if not named:
        return list(DEFAULT_METRICS)
    unknown = [name for name in named if name not in BENCH_METRICS]
    if unknown:
        raise RecordError(
            f"--metric {unknown[0]}: a benchmark has no such metric; it has "
            f"{', '.join(BENCH_METRICS)}"
        )
    return named


def _of_answers(
    given: tuple[Given, Given],
    rules: Rules,
    reference_arm: str | None,
    arm: str | None,
    flips: Path | None,
) -> _Told:
    """Match and judge; write the flips where a file is named.

    Raises:
        RecordError: The two have nothing in common.
    """
    try:
        pairs = matched(given[0].sides, given[1].sides, reference_arm=reference_arm, arm=arm)
    except NothingToCompare as error:
        raise RecordError(f"{given[0].source} and {given[1].source}: {error}") from error
    made: list[tuple[Side, Side, Comparison]] = [
        (one, two, judge_sides(one, two, rules, alarms=len(pairs))) for one, two in pairs
    ]
    if flips is not None:
        write_atomic(flips, flip_lines(one.pairing for _, _, one in made if one.pairing))
    return (
        [one.verdict for _, _, one in made],
        [answers_document(*one) for one in made],
        [line for one in made for line in answers_lines(*one)],
    )
