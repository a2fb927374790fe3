"""One SGLang server of these parts: its command line, its variables, its life."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from launchers.server.health import SGLANG_HEALTH
from launchers.server.launch import Server, launched
from pipeline.cli.prepare import planned
from servegate_sglang.mixed_comm.requirements import MULTICAST_OFF

__all__ = ["command", "served"]


def command(
    experiment: Path, overrides: Sequence[str] = (), engine: str | None = None
) -> list[str]:
    """The command line of the reference arm's first launch, as `servegate plan` shows it."""
    _, made = planned(experiment, list(overrides), engine)
    return next(x.argv for x in made.launches if x.arm == made.reference)


@contextmanager
def served(
    argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None, ready_s: float = 240
) -> Iterator[Server]:
    """Start it, wait until it generates, and stop it with all that it started.

    Raises:
        launchers.server.failures.ServerError: It did not come up.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with launched(
        argv=list(argv),
        env={**os.environ, **MULTICAST_OFF, "SGLANG_PLUGINS": "none", **(env or {})},
        log=log,
        host="127.0.0.1",
        port=None,
        health=SGLANG_HEALTH,
        ready_timeout_s=ready_s,
        stop_timeout_s=20,
        on_state=lambda text: print(f"{log.stem}: {text}", file=sys.stderr, flush=True),
    ) as server:
        yield server
