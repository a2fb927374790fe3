"""Prints the figures of kept records as Markdown, or writes them into a page between its marks.

A page has ``<!-- figures: NAME -->`` and, on a later line, ``<!-- end -->``; what is between them
is written anew. A test holds the pages to the records.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.gpu_smoke import figures_parts, figures_runs

__all__ = ["FIGURES", "filled", "marked"]

FIGURES: dict[str, Callable[[Path], list[str]]] = {
    "smoke": figures_runs.smoke,
    "smoke-verdicts": figures_runs.smoke_verdicts,
    "answers": figures_runs.answers,
    "traces": figures_runs.traces,
    "starts": figures_runs.starts,
    "nsys": figures_parts.nsys,
    "probes": figures_parts.probes,
    "hang": figures_parts.hang,
    "checkref": figures_parts.checkref,
    "doctor": figures_parts.doctor,
}
"""By name: lines of Markdown from the folder of all sessions; none where nothing was kept."""

_BLOCK = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    """Exit code 1 when a page has a mark that nobody knows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path, help="the folder of all sessions, such as docs/h100")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(FIGURES)}; all if none is given")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="fill the marks of this page")
    options = parser.parse_args()
    try:
        if options.write is not None:
            text = filled(options.write.read_text(encoding="utf-8"), options.records)
            options.write.write_text(text, encoding="utf-8")
            return 0
        for name in options.names or FIGURES:
            print(f"{_of(name, options.records)}\n")
    except ValueError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    return 0


def filled(text: str, records: Path) -> str:
    """The page with the figures of the records between its marks.

    Raises:
        ValueError: A mark has a name that is not known, or nothing was kept for it.
    """
    return _BLOCK.sub(lambda found: f"{found[1]}{_of(found[2], records)}\n{found[3]}", text)


def marked(text: str) -> Sequence[str]:
    """Names of the figures that a page shows."""
    return [found[2] for found in _BLOCK.finditer(text)]


def _of(name: str, records: Path) -> str:
    if name not in FIGURES:
        raise ValueError(f"no figures {name}; known: {', '.join(FIGURES)}")
    lines = FIGURES[name](records)
    if not lines:
        raise ValueError(f"{records}: holds no records for the figures {name}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
