"""One cell of a run as a shell script that needs no servegate to be read, and little to be run."""

from __future__ import annotations

from pipeline.repro.script import repro_script

__all__ = ["repro_script"]
