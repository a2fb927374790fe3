"""``servegate report --external``: published figures as a report."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.console import stdout
from pipeline.published import load_published
from pipeline.records import write_atomic, write_json
from pipeline.report.published import document
from pipeline.report.render import render_published

__all__ = ["report_published"]


def report_published(file: Path, out: Path, *, as_json: bool) -> None:
    """Write report.md, report.html and report.json of published figures; what is there is replaced.

    Args:
        file: The figures.
        out: The folder; it gets one of the table's name below ``published``.
        as_json: Print the document instead of where it went.

    Raises:
        pipeline.yaml_source.SourceError: With everything that is wrong with the file.
    """
    told = document(load_published(file))
    folder = out / "published" / told["name"]
    folder.mkdir(parents=True, exist_ok=True)
    markdown, page = render_published(told)
    write_atomic(folder / "report.md", markdown)
    write_atomic(folder / "report.html", page)
    write_json(folder / "report.json", told)
    if as_json:
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return
    console = stdout()
    console.print(f"{told['title']}: {told['reason']}", markup=False)
    for name in ("report.html", "report.md", "report.json"):
        console.print(f"report: {folder / name}", markup=False)
