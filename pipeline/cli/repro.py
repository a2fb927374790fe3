"""`servegate repro`: one cell as a shell script, for somebody who has no servegate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import endings
from pipeline.plan.model import Cell, Launch, Plan
from pipeline.plan.script import repro_script
from pipeline.records.folder import RunFolder
from pipeline.records.record import RecordError, read_json

__all__ = ["repro"]

# SGLang's own default, for a launch that never had a port.
_PORT = 30000


def repro(
    run_folder: Annotated[Path, typer.Argument(help="A run folder, runs/EXPERIMENT/STAMP-HASH.")],
    cell: Annotated[str, typer.Argument(help="A cell as reports name it: 00-nccl-dp2/latency.")],
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=1, max=65535, help="Where the server listens; default: as in the run."
        ),
    ] = None,
) -> None:
    """Print the exact commands of a cell: server, wait until it is ready, client.

    Example: servegate repro runs/fake/20260101T000000Z-0a1b2c3d 00-nccl-dp2/latency >repro.sh
    """
    with endings():
        folder = RunFolder(run_folder)
        made = folder.load_plan()
        launch, found = _find(made, cell)
        chosen = port if port is not None else _port_of(folder, launch)
        print(repro_script(made, launch, found, port=chosen), end="")


def _find(plan: Plan, name: str) -> tuple[Launch, Cell]:
    for launch in plan.launches:
        for cell in launch.cells:
            if cell.id == name:
                return launch, cell
    known = ", ".join(cell.id for launch in plan.launches for cell in launch.cells)
    raise RecordError(f"{name}: no cell of this run; it has {known}")


def _port_of(folder: RunFolder, launch: Launch) -> int:
    """The port that the launch had; a run that never started it has none."""
    if launch.port is not None:
        return launch.port
    path = folder.launch(launch.id).launch
    note = read_json(path) if path.exists() else {}
    port = note.get("port") if isinstance(note, dict) else None
    return port if isinstance(port, int) else _PORT
