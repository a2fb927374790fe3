"""The committed JSON Schema is the one that the code makes, and it accepts the shipped files."""

from __future__ import annotations

import json
from pathlib import Path

from evals import JOBS
from pipeline.experiment.schema import schema_text

SCHEMA = Path(__file__).resolve().parents[3] / "experiments" / "schema.json"


def test_the_committed_schema_is_current() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), "run: make schema"


def test_the_schema_knows_what_editors_should_offer() -> None:
    schema = json.loads(schema_text())
    assert schema["additionalProperties"] is False
    assert {"extends", "name", "arms", "jobs", "gates"} <= schema["properties"].keys()
    (job,) = schema["properties"]["jobs"]["patternProperties"].values()
    assert set(job["discriminator"]["mapping"]) == set(JOBS)
