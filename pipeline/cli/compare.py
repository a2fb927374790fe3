"""`servegate compare`: two folders of answers, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pipeline.cli.console import endings, stdout
from pipeline.compare import (
    Comparison,
    NothingToCompare,
    Rules,
    Side,
    judge_sides,
    matched,
    read_sides,
)
from pipeline.compare.text import flip_lines, pairing_document, pairing_lines
from pipeline.gate.model import EXIT_CODES, worst
from pipeline.records.record import RecordError, write_atomic
from pipeline.report.tables import MARKS

__all__ = ["compare"]

_Compared = tuple[Side, Side, Comparison]


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
            help="Largest acceptable loss of score, 0.02 is 2 points; default: the first run's.",
        ),
    ] = None,
    alpha: Annotated[
        float, typer.Option(min=0.0001, max=0.4999, help="One-sided error rate.")
    ] = 0.05,
    shared: Annotated[  # noqa: FBT002
        bool, typer.Option("--shared", help="Judge what both were asked, where one has more.")
    ] = False,
    any_settings: Annotated[  # noqa: FBT002
        bool, typer.Option("--any-settings", help="Judge although sampling settings differ.")
    ] = False,
    flips: Annotated[
        Path | None, typer.Option("--flips", help="Write every flip with both texts, as JSONL.")
    ] = None,
    as_json: Annotated[  # noqa: FBT002
        bool, typer.Option("--json", help="Print one JSON document on stdout.")
    ] = False,
) -> None:
    """Compare the answers of two runs, question by question; run folders of sgl-eval, too.

    Example: servegate compare runs/a/STAMP runs/b/STAMP --margin 0.02 --flips flips.jsonl
    """
    with endings():
        rules = Rules(margin=margin, alpha=alpha, shared_only=shared, any_settings=any_settings)
        found = _compare_folders(
            reference, other, rules, reference_arm=reference_arm, arm=arm, flips=flips
        )
        document = _document(found)
        if as_json:
            print(json.dumps(document, indent=2, ensure_ascii=False))
        else:
            _show(found, stdout())
            stdout().print(f"verdict: {document['verdict']}")
        raise typer.Exit(document["exit_code"])


def _compare_folders(
    reference: Path,
    other: Path,
    rules: Rules,
    *,
    reference_arm: str | None,
    arm: str | None,
    flips: Path | None,
) -> list[_Compared]:
    """Read, match and judge; write the flips where a file is named.

    Raises:
        RecordError: A folder cannot be read, or the two have nothing in common.
    """
    try:
        pairs = matched(
            read_sides(reference), read_sides(other), reference_arm=reference_arm, arm=arm
        )
    except NothingToCompare as error:
        raise RecordError(f"{reference} and {other}: {error}") from error
    found = [(one, two, judge_sides(one, two, rules, alarms=len(pairs))) for one, two in pairs]
    if flips is not None:
        text = flip_lines(made.pairing for _, _, made in found if made.pairing is not None)
        write_atomic(flips, text)
    return found


def _document(found: Sequence[_Compared]) -> dict[str, Any]:
    """One JSON document; fractions in [0, 1]."""
    verdict = worst(made.verdict for _, _, made in found)
    return {
        "schema_version": 1,
        "verdict": verdict.value,
        "exit_code": EXIT_CODES[verdict],
        "comparisons": [_one(*compared) for compared in found],
    }


def _one(reference: Side, arm: Side, made: Comparison) -> dict[str, Any]:
    seen = made.difference
    return {
        "reference_source": reference.source,
        "source": arm.source,
        "verdict": made.verdict.value,
        "reason": made.reason,
        "margin": made.margin,
        "difference": None if seen is None else seen.difference,
        "interval": None if seen is None else list(seen.interval),
        "p_worse": None if seen is None else seen.p_lower,
        "method": None if seen is None else seen.method,
        "pairing": None if made.pairing is None else pairing_document(made.pairing),
    }


def _show(found: Sequence[_Compared], out: Console) -> None:
    """Print every pair for a person."""
    for reference, arm, made in found:
        if made.pairing is None:
            out.print(f"{arm.job}: {arm.name} against {reference.name}", markup=False)
        else:
            for line in pairing_lines(made.pairing):
                out.print(line, markup=False, soft_wrap=True)
        if (seen := made.difference) is not None:
            lower, upper = (100 * bound for bound in seen.interval)
            out.print(
                f"  score {100 * seen.difference:+.2f} points [{lower:+.2f}, {upper:+.2f}] "
                f"({seen.method})",
                markup=False,
                soft_wrap=True,
            )
        out.print(
            f"  {MARKS[made.verdict]} {made.verdict.value}: {made.reason}",
            markup=False,
            soft_wrap=True,
        )
