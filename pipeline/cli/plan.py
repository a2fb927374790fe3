"""`servegate plan`: every launch of an experiment, and nothing is started."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pipeline.cli.console import endings, refuse, say, stderr, stdout
from pipeline.cli.options import (
    AllowImpossible,
    AsJson,
    EngineOption,
    ExperimentFile,
    Overrides,
    VarianceFrom,
)
from pipeline.cli.power import known_basis
from pipeline.cli.prepare import for_this_machine, planned
from pipeline.cli.run import (
    impossible_hint,
    lacking_here,
    unsupported_notes,
)
from pipeline.plan.text import plan_lines
from pipeline.power import launch_lines, speed_powers
from pipeline.preflight.checks import preflight


def plan(
    experiment: ExperimentFile,
    overrides: Overrides = None,
    engine: EngineOption = None,
    allow_impossible: AllowImpossible = False,  # noqa: FBT002 - typer's way to a flag
    variance_from: VarianceFrom = None,
    as_json: AsJson = False,  # noqa: FBT002
) -> None:
    """Print every launch of an experiment: command line, environment, jobs. Starts nothing.

    And how many launches each gate on a speed needs, by what a run showed or what is assumed.

    Example: servegate plan experiments/fake.yaml --set launches=2 --json
    """
    with endings():
        spec, made = planned(experiment, overrides, engine)
        found = preflight(made, spec, say=say, allow_impossible=allow_impossible)
        if found.wrong:
            problems = [f"{experiment}: {text}" for text in found.wrong]
            refuse([*problems, *impossible_hint(found)])
        made = found.known(made)
        here = for_this_machine(made, Path("runs"), os.environ)
        lacking = lacking_here(found, here)
        notes = list(found.notes)
        if as_json:
            print(json.dumps(made.model_dump(mode="json"), indent=2))
            notes = [*(f"cannot run here: {text}" for text in lacking), *notes]
        else:
            basis, assumed = known_basis(spec, variance_from)
            needs = launch_lines(speed_powers(spec, basis), spec.alpha)
            for line in [*plan_lines(made, lacking), *needs]:
                stdout().print(line, markup=False)
            notes += assumed
        if not all(launch.unsupported for launch in here.launches):
            notes += unsupported_notes(here)
        for note in notes:
            stderr().print(f"note: {note}", markup=False)
