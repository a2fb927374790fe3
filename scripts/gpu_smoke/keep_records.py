"""Keeps the records of a session on a GPU: small, without the machine's names, reports rebuilt.

RESULTS is what onhost.sh packed, unpacked. TARGET gets the same layout; what lies there stays, but
for runs and files that are kept anew. Nothing is written while a text matches one of clean.py's
patterns of names, or where anything fails.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evals.comm_kernels.traces.table import TraceError
from pipeline.records.record import RecordError
from scripts.gpu_smoke import small
from scripts.gpu_smoke.clean import Cleaner, leaks
from scripts.gpu_smoke.keep_run import Change, KeepError, as_it_is, keep_files, keep_run
from scripts.gpu_smoke.kept_text import texts
from scripts.gpu_smoke.records_page import page
from scripts.gpu_smoke.timed_run import newest

__all__ = ["keep"]

_LIMIT_BYTES = 1_500_000
_TOLD = 20
_MAIN = "/pipeline/__main__.py"
# No --replace changes what is in these.
_TRACES = (".gz", ".sqlite")

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
    """Exit code 1 when something may still name a machine, is too large, or is not there."""
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
        absent = keep(
            options.results, options.target, named=options.run, parts=not options.no_parts,
            replaced=replaced, limit=options.limit,
        )  # fmt: skip
    except (KeepError, RecordError, TraceError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    print("\n".join(_sizes(options.target)))
    if absent:
        print(f"not in {options.results}: {', '.join(absent)}")
    return 0


def keep(
    results: Path,
    target: Path,
    *,
    named: Sequence[str] | None = None,
    parts: bool = True,
    replaced: Sequence[tuple[str, str]] = (),
    limit: int = _LIMIT_BYTES,
) -> list[str]:
    """Write the target anew: what was there, the runs, and what else the session left.

    It is made beside the target and takes its place when all is well.

    Args:
        results: With runs/NAME/ID in it.
        target: A folder, or none yet.
        named: Runs as NAME or NAME/ID; None: the newest of each name.
        parts: Whether to keep what is no run, too.
        replaced: Texts with what to write for them.
        limit: Bytes of the whole target.

    Returns:
        Files besides runs that were asked for and are not in the results.

    Raises:
        KeepError: Something may still name a machine, is too large, or is not there.
        evals.comm_kernels.traces.table.TraceError: A trace cannot be read.
        pipeline.records.record.RecordError: A run is damaged.
    """
    runs = _runs(results, named)
    wanted = _PARTS if parts else {}
    absent = [name for name in wanted if not (results / name).exists()]
    if not runs and len(absent) == len(wanted):
        looked = ", ".join(["runs/NAME/ID/plan.json", *wanted])
        raise KeepError(f"{results}: nothing to keep; looked for {looked}")
    cleaner = _cleaner(runs, replaced)
    with _beside(target) as stage:
        for run in runs:
            keep_run(run, stage / run.relative_to(results), cleaner)
        keep_files(results, stage, wanted, cleaner)
        (stage / "README.md").write_text(page(stage), encoding="utf-8")
        _refuse_names(stage)
        _refuse_size(stage, limit)
    return absent


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A copy of the target in the same file system, which replaces it unless an error comes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".keep-", dir=target.parent) as folder:
        stage, old = Path(folder) / "new", Path(folder) / "old"
        if target.exists():
            shutil.copytree(target, stage)
        stage.mkdir(exist_ok=True)
        yield stage
        if target.exists():
            target.rename(old)
        try:
            stage.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise


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


def _cleaner(runs: Sequence[Path], replaced: Sequence[tuple[str, str]]) -> Cleaner:
    notes = [json.loads((run / "provenance.json").read_text(encoding="utf-8")) for run in runs]
    mains = [str(note["run"]["command"][0]) for note in notes]
    return Cleaner(
        hosts=[str(note["machine"]["host"]) for note in notes],
        roots=[main.removesuffix(_MAIN) for main in mains if main.endswith(_MAIN)],
        replaced=replaced,
    )


def _refuse_names(stage: Path) -> None:
    found = [
        (path, f"{path.relative_to(stage)}:{leak.line}: {leak.what}: {leak.text}")
        for path in _files(stage)
        for text in texts(path)
        for leak in leaks(text)
    ]
    fixed = [told for path, told in found if path.suffix in _TRACES]
    others = [told for path, told in found if path.suffix not in _TRACES]
    advice = {
        "give --replace OLD=NEW": others,
        "no --replace reaches into a trace, so leave the run out with --run": fixed,
    }
    if found:
        raise KeepError(
            "\n".join(
                f"these may still name a machine; {what}:\n{_some(lines)}"
                for what, lines in advice.items()
                if lines
            )
        )


def _some(lines: Sequence[str]) -> str:
    more = [f"... and {len(lines) - _TOLD} more"] if len(lines) > _TOLD else []
    return "\n".join([*lines[:_TOLD], *more])


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
