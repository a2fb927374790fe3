"""`servegate doctor`: looks at this machine and prints what it found."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from launchers.backends import BACKENDS
from launchers.machine.host import (
    EnginePackages,
    Host,
    build_mixed_comm,
    look,
    mixed_comm_not_built,
    probe,
)
from pipeline import exit_codes
from pipeline.cli.console import endings, refuse, stderr, stdout
from pipeline.cli.options import AsJson, EngineOption, Overrides
from pipeline.cli.prepare import planned
from pipeline.experiment.model import Experiment
from pipeline.plan.build import make_plan
from pipeline.plan.model import Plan, PlanModel
from pipeline.preflight.checks import preflight
from pipeline.preflight.doctor import Diagnosis, diagnose
from pipeline.preflight.support import marked, unsupported_here

__all__ = ["doctor", "examine", "show"]

_BUILD_S = 3600.0
_MARKS = {"ok": ("✓", "green"), "missing": ("✗", "bold red"), "note": ("!", "yellow")}


@dataclass(frozen=True, kw_only=True)
class Build:
    """That MixedComm's kernels are to be built; `arch` None: for the GPUs of this machine."""

    arch: str | None = None


def doctor(
    experiment: Annotated[
        Path | None, typer.Argument(help="Also say which cells of this file can run here.")
    ] = None,
    overrides: Overrides = None,
    engine: EngineOption = None,
    build: Annotated[  # noqa: FBT002
        bool, typer.Option("--build", help="Compile FlashInfer's MixedComm kernels beforehand.")
    ] = False,
    arch: Annotated[
        str | None,
        typer.Option("--arch", help="With --build: for GPUs that are not here, as '9.0 10.0'."),
    ] = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Say what this machine can run and why not the rest; starts no server.

    Example: servegate doctor experiments/qwen3.5-mixedcomm-speed.yaml
    """
    with endings():
        if arch is not None and not build:
            refuse(["--arch says what to build for; give --build, too"])
        found = examine(
            experiment, overrides, engine, Build(arch=arch) if build else None, stderr()
        )
        code = show(found, stdout(), as_json=as_json)
        raise typer.Exit(code)


def examine(
    file: Path | None,
    overrides: list[str] | None,
    engine: str | None,
    build: Build | None,
    console: Console,
) -> Diagnosis:
    """Look at the machine, build what was asked for, and say what it means for the experiment.

    Raises:
        pipeline.experiment.load.SpecError: The experiment file is wrong.
    """
    host = look(Path("runs"), os.environ)
    if file is None:
        packages = probe(sys.executable)
        built = _built(sys.executable, packages, build, console, wanted=bool(host.gpus))
        presets = _marked(_presets(), host, packages, built)
        return diagnose(
            host, packages, not_built=built, presets=presets, building=build is not None
        )
    spec, plan = planned(file, overrides, engine)
    packages = probe(plan.python)
    wanted = bool(host.gpus) and plan.device == "cuda" and plan.engine == "sglang"
    built = _built(plan.python, packages, build, console, wanted=wanted)
    found = preflight(
        plan,
        spec,
        say=lambda text: console.print(f"{text} ...", style="dim"),
        allow_impossible=True,  # what a gate can decide is no matter of the machine
    )
    return diagnose(
        host,
        packages,
        not_built=built,
        plan=_marked(plan, host, packages, built),
        preflight=found,
        building=build is not None,
    )


def _marked(plan: Plan, host: Host, packages: EnginePackages, built: str | None) -> Plan:
    not_built = "not asked" if built is None else built
    return marked(plan, unsupported_here(plan, host, packages, lambda: not_built))


def _presets() -> Plan:
    """The four presets at TP 2, 4 and 8 with attention DP 2, to be marked for this machine."""
    experiment = Experiment.model_validate(
        {
            "name": "presets",
            "model": {"path": "any/model"},
            "layouts": [{"tp": tp, "attention_dp": [2]} for tp in (2, 4, 8)],
            "arms": {name: {"preset": name} for name in BACKENDS},
            "reference": "nccl",
            "jobs": {"gsm8k": {"kind": "accuracy"}},
        }
    )
    model = PlanModel(path="any/model", served_name="any/model", tokenizer="any/model")
    return make_plan(experiment, model=model, python=sys.executable, cores=1)


def _built(
    python: str, packages: EnginePackages, build: Build | None, console: Console, *, wanted: bool
) -> str | None:
    """Why MixedComm's kernels are not built; asked only where they can be used or are to be."""
    if packages.problem or "flashinfer-python" not in packages.versions:
        return "FlashInfer is not installed" if build is not None else None
    if build is not None:
        log = Path(tempfile.mkdtemp(prefix="servegate-build-")) / "build.log"
        console.print(f"building FlashInfer's MixedComm kernels, many minutes; log: {log}")
        return build_mixed_comm(python, log, _BUILD_S, build.arch)
    return mixed_comm_not_built(python) if wanted else None


def show(diagnosis: Diagnosis, console: Console, *, as_json: bool) -> int:
    """Print it; returns the exit code: 0 if all that was asked for can run, else 3."""
    if as_json:
        print(json.dumps(diagnosis.model_dump(mode="json"), indent=2))
    else:
        width = None if console.is_terminal else 160
        for table in _tables(diagnosis):
            Console(width=width).print(table)
    return exit_codes.PASS if diagnosis.can_run else exit_codes.CANNOT_VOUCH


def _tables(diagnosis: Diagnosis) -> list[Table]:
    machine = Table(title=None, pad_edge=False)
    machine.add_column("", no_wrap=True)
    machine.add_column("what", no_wrap=True)
    machine.add_column("found", overflow="fold")
    machine.add_column("what to do", overflow="fold")
    for finding in diagnosis.findings:
        mark, style = _MARKS[finding.state]
        machine.add_row(
            Text(mark, style=style), finding.name, Text(finding.found), Text(finding.do)
        )
    if not diagnosis.cells:
        return [machine]
    cells = Table(title=None, pad_edge=False)
    for name in ("layout", "arm", "launches", "here"):
        cells.add_column(name, overflow="fold")
    for cell in diagnosis.cells:
        here = Text(f"no: {cell.reason}", style="yellow") if cell.reason else Text("ok")
        cells.add_row(cell.layout, cell.arm, str(cell.launches), here)
    return [machine, cells]
