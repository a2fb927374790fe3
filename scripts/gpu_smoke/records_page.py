"""The README.md beside kept records: which machine and day, what each is, what was dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.gpu_smoke.small import LONG_VALUE

__all__ = ["machine", "page"]

_PARTS = {
    "host.txt": "the card, driver, kernel and Python",
    "doctor.txt": "`servegate doctor`, as a table",
    "doctor.json": "the same for `h100-smoke.yaml`, as JSON",
    "hang/hang.json": "stacks of the scheduler that was stopped with SIGSTOP, and the record",
    "probes/probes.json": "what SGLang's profiler costs; when the GPU's memory is free after TERM",
    "checkref/agreement.json": "three servers against float32",
    "nsys/decode.sqlite": "the last nine replays of each rank, the last one cut off where nsys "
    "stopped, and what nsys said of that: by `scripts.gpu_smoke.small_nsys` with `--last 9` from "
    "the capture of run `h100x2-nsys/20261124T183258Z-72d0c9c4` (arm `nccl`, TP 2, batch 16, 1,500 "
    "tokens an answer; begun 2026-11-24 18:32 UTC on the same kind of machine, started anew). What "
    "was brought from the host had lost nsys's words; they are put back from the run's record, "
    "which that day's servegate called invalid for them; it now leaves out the step cut off",
}
_MADE = f"""\
## How they were made

`python -m scripts.gpu_smoke.keep_records RESULTS FOLDER` copied the runs and files from what the
host sent back, but for a file that says above how it came.

Dropped: logs of jobs, attempts that were broken off, and every file that a report does not need. Of
the first good launch of a run on the clock or on several GPUs there are also `server_info.json`,
`server.log` without its requests and with its first 20 batches, and one result of the benchmark,
without answers and server settings, times to 0.1 microseconds. Traces have their kernels, launches
of graphs and steps. Log-probabilities have as many digits as their float32 needs, and the likeliest
tokens only where answers part. Responses that all arms gave with one mark and answer, and values
of the environment over {LONG_VALUE} characters, are told by their SHA-256. `keep_records` refuses
where a report or the figures of a trace would come out otherwise.

Nothing else was changed but these names: `/gpu` is the work folder on the host, `/servegate` the
repository there, `/python` the interpreter's environment, `/scratch` a temporary file, `host` the
machine; cards are numbered, and the host's mark was cut off its kernel's version. Nothing that was
kept matches the patterns of names in `scripts/gpu_smoke/clean.py`; other names it cannot know.

The reports are built from these records. After a change to servegate that changes reports:
`servegate report FOLDER/runs/NAME/ID`.
"""


def page(folder: Path) -> str:
    """The page for a folder that keep_records.py filled, as Markdown."""
    runs = sorted(path.parent for path in folder.glob("runs/*/*/plan.json"))
    lines = ["# Records from a real GPU", ""]
    if runs:
        lines += [
            "| run | what it asks | machine | begun | servegate | records | verdict |",
            "|---|---|---|---|---|---|---|",
            *(_row(run, folder) for run in runs),
            "",
        ]
    parts = [name for name in _PARTS if (folder / name).exists()]
    if parts:
        lines += ["| file | what |", "|---|---|"]
        lines += [f"| [{name}]({name}) | {_PARTS[name]} |" for name in parts]
        lines.append("")
    return "\n".join([*lines, _MADE])


def _row(run: Path, folder: Path) -> str:
    told = _json(run / "provenance.json")
    report = _json(run / "report.json")
    ok = [_json(path)["status"] == "ok" for path in run.glob("launches/*/cells/*/record.json")]
    planned = sum(len(launch["cells"]) for launch in _json(run / "plan.json")["launches"])
    commit = told["source"]["commit"]
    cells = [
        f"[{run.parent.name}]({run.relative_to(folder)}/report.md)",
        report["description"],
        f"{machine(told)}, SGLang {told['packages']['sglang']}",
        told["run"]["started_at"][:16].replace("T", " ") + " UTC",
        f"`{commit[:7]}`{', changed' if told['source']['modified'] else ''}",
        f"{sum(ok)} of {planned} ok",
        report["verdict"],
    ]
    return f"| {' | '.join(cells)} |"


def machine(provenance: dict[str, Any]) -> str:
    """The cards and what drives them, such as "1 x NVIDIA H100 80GB HBM3, driver 580.159.04"."""
    return ", ".join(_machine(provenance))


def _machine(provenance: dict[str, Any]) -> Iterator[str]:
    cards = [card["name"] for card in provenance["gpu"]["gpus"]]
    for name in dict.fromkeys(cards):
        yield f"{cards.count(name)} x {name}"
    if cards:
        yield f"driver {provenance['gpu']['driver']}"
    yield f"{provenance['machine']['cores']} cores"


def _json(path: Path) -> Any:  # noqa: ANN401 - any JSON
    return json.loads(path.read_text(encoding="utf-8"))
