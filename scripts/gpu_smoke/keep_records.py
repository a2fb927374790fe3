"""Keeps the records of a session on a GPU: small, without the machine's names, reports rebuilt.

RESULTS is what onhost.sh packed, unpacked. TARGET gets the same layout; what lies there stays, but
for runs and files that are kept anew. Nothing is written where something still names a machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from evals.comm_kernels.table import TraceError
from pipeline.records import RecordError
from scripts.gpu_smoke import small
from scripts.gpu_smoke.clean import Cleaner, leaks
from scripts.gpu_smoke.keep_run import Change, KeepError, as_it_is, keep_files, keep_run
from scripts.gpu_smoke.kept_text import texts
from scripts.gpu_smoke.records_page import page
from scripts.gpu_smoke.timed_run import newest

__all__ = ["keep"]

_LIMIT_BYTES = 1_500_000
_TOLD = 20

# Besides runs.
_PARTS: dict[str, Change] = {
    "host.txt": as_it_is,
    "doctor.txt": as_it_is,
    "doctor.json": as_it_is,
    "hang/hang.json": small.hang,
    "probes/probes.json": as_it_is,
    "checkref/agreement.json": as_it_is,
}


def main() -> int:
    """Exit code 1 when something still names a machine, is too large, or is not there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument(
        "--run", action="append", metavar="NAME[/ID]", help="only these; else the newest of each"
    )
    parser.add_argument("--no-parts", action="store_true", help="keep runs alone")
    parser.add_argument(
        "--replace", action="append", default=[], metavar="OLD=NEW", help="one more name to replace"
    )
    parser.add_argument(
        "--limit", type=int, default=_LIMIT_BYTES, help="bytes of the whole target (%(default)s)"
    )
    options = parser.parse_args()
    replaced = [(old, new) for old, equals, new in (x.partition("=") for x in options.replace)]
    if not all(old and new for old, new in replaced):
        parser.error("--replace: write OLD=NEW")
    try:
        keep(
            options.results, options.target, named=options.run, parts=not options.no_parts,
            replaced=replaced, limit=options.limit,
        )  # fmt: skip
    except (KeepError, RecordError, TraceError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    print("\n".join(_sizes(options.target)))
    return 0


def keep(
    results: Path,
    target: Path,
    *,
    named: Sequence[str] | None = None,
    parts: bool = True,
    replaced: Sequence[tuple[str, str]] = (),
    limit: int = _LIMIT_BYTES,
) -> None:
    """Write the target anew: what was there, the runs, and what else the session left.

    Args:
        results: With runs/NAME/ID in it.
        target: A folder, or none yet.
        named: Runs as NAME or NAME/ID; None: the newest of each name.
        parts: Whether to keep what is no run, too.
        replaced: Texts with what to write for them.
        limit: Bytes of the whole target.

    Raises:
        KeepError: Something still names a machine, is too large, or is not there.
        evals.comm_kernels.table.TraceError: A trace cannot be read.
        pipeline.records.RecordError: A run is damaged.
    """
    runs = _runs(results, named)
    cleaner = Cleaner(_hosts(runs), replaced)
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder) / "kept"
        if target.exists():
            shutil.copytree(target, stage)
        for run in runs:
            keep_run(run, stage / run.relative_to(results), cleaner)
        if parts:
            keep_files(results, stage, _PARTS, cleaner)
        (stage / "README.md").write_text(page(stage), encoding="utf-8")
        _refuse_names(stage)
        _refuse_size(stage, limit)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(stage, target)


def _runs(results: Path, named: Sequence[str] | None) -> list[Path]:
    wanted = named or sorted(path.name for path in (results / "runs").glob("*"))
    found = []
    for name in wanted:
        path = results / "runs" / name
        run = path if "/" in name else newest(path)
        if run is None or not (run / "plan.json").exists():
            raise KeepError(f"{path}: holds no run; name one as EXPERIMENT or EXPERIMENT/ID")
        found.append(run)
    return found


def _hosts(runs: Sequence[Path]) -> set[str]:
    notes = (json.loads((run / "provenance.json").read_text(encoding="utf-8")) for run in runs)
    return {str(note["machine"]["host"]) for note in notes}


def _refuse_names(stage: Path) -> None:
    found = [
        f"{path.relative_to(stage)}:{leak.line}: {leak.what}: {leak.text}"
        for path in _files(stage)
        for text in texts(path)
        for leak in leaks(text)
    ]
    if found:
        more = [f"... and {len(found) - _TOLD} more"] if len(found) > _TOLD else []
        told = "\n".join([*found[:_TOLD], *more])
        raise KeepError(f"these would still name a machine; give --replace OLD=NEW:\n{told}")


def _refuse_size(stage: Path, limit: int) -> None:
    files = sorted(_files(stage), key=lambda path: -path.stat().st_size)
    total = sum(path.stat().st_size for path in files)
    if total > limit:
        largest = ", ".join(f"{p.relative_to(stage)} {p.stat().st_size}" for p in files[:5])
        raise KeepError(
            f"{total} bytes, more than {limit}; keep fewer runs (--run). The largest: {largest}"
        )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _sizes(target: Path) -> Iterator[str]:
    groups: dict[str, int] = {}
    for path in _files(target):
        parts = path.relative_to(target).parts
        name = "/".join(parts[:3] if parts[0] == "runs" else parts[:1])
        groups[name] = groups.get(name, 0) + path.stat().st_size
    yield from (f"{size:>9} {name}" for name, size in groups.items())
    yield f"{sum(groups.values()):>9} in all"


if __name__ == "__main__":
    sys.exit(main())
