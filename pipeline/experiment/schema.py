"""The JSON Schema of experiment files, which editors read through a file's modeline."""

from __future__ import annotations

import json

from pipeline.experiment.model import Experiment

__all__ = ["schema_text"]


def schema_text() -> str:
    """The schema as the committed copy ``experiments/schema.json`` holds it, newline included."""
    schema = Experiment.model_json_schema(mode="validation")
    properties = {
        "extends": {
            "type": "string",
            "description": "Another experiment file, relative to this one; this file is merged on "
            "it, mapping by mapping, and null deletes.",
        },
        **schema["properties"],
    }
    # A file that extends another need not repeat what that one gives, so nothing is required here;
    # servegate itself checks the merged experiment.
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "servegate experiment",
        **{k: v for k, v in schema.items() if k not in ("required", "properties", "title")},
        "properties": properties,
    }
    return json.dumps(schema, indent=2) + "\n"
