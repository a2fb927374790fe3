"""Reads from a live launch what its premises and its comparison with others need."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launchers.machine.gpus import describe_gpus
from launchers.machine.ranks import environments, libraries, scheduler_pids
from launchers.server.launch import Server
from pipeline.premises import Claims, Evidence, unsettled
from pipeline.premises.arguments import asked_flags
from pipeline.premises.log_patterns import SIGNS
from pipeline.records.facts import Facts, resolved_arguments, telling
from pipeline.records.folder import LaunchFolder
from pipeline.records.provenance import describe_machine, engine_packages
from pipeline.records.record import write_json

__all__ = ["Observer"]

# The plugin writes within two seconds of a call (WRITE_DELAY_S in its module witness).
_SETTLE_S = 6.0
_POLL_S = 0.2


class Observer:
    """Looks at one launch; every look asks the server anew."""

    def __init__(self, claims: Claims, place: LaunchFolder, server: Server, python: str) -> None:
        self._claims = claims
        self._place = place
        self._server = server
        self._python = python

    def evidence(self, kernels: Mapping[str, Any] | None = None) -> Evidence:
        """Everything that premises are checked against; keeps server_info.json.

        Args:
            kernels: What a trace of this launch showed; None: none was taken.

        Raises:
            launchers.server.failures.ServerError: The server has ended or does not answer.
        """
        info = self._server.server_info()
        write_json(self._place.server_info, info)
        leader = self._server.process.pid
        return Evidence(
            server_info=info,
            environ=self._server.environ(),
            rank_environs=environments(leader, scheduler_pids(leader, info)),
            witnesses=self._witnesses(),
            signs=self._place.log_signs(SIGNS),
            real_paths=self._real_paths(info),
            kernels=kernels,
        )

    def keep_facts(self, evidence: Evidence) -> None:
        """Write facts.json of this launch."""
        claims = self._claims
        planned = frozenset(flag for flag, _ in asked_flags(claims.launch.argv))
        ranks = evidence.rank_environs
        facts = Facts(
            arguments=resolved_arguments(evidence.server_info, planned=planned),
            environment=telling(evidence.environ),
            rank_environment=telling(*ranks.values()) if ranks else {},
            packages=engine_packages(self._python),
            libraries=libraries(next(iter(ranks))) if ranks else {},
            machine=describe_machine(),
            gpu=describe_gpus() if claims.device == "cuda" else {},
        )
        write_json(self._place.facts, facts.model_dump(mode="json"))

    def _real_paths(self, info: Mapping[str, Any]) -> dict[str, str]:
        """Of what the plan and the server call the model; the server's folder is ours."""
        planned = dict(asked_flags(self._claims.launch.argv))["model_path"]
        paths = {str(info.get("model_path")), *planned}
        return {path: os.path.realpath(path) for path in paths if Path(path).exists()}

    def _witnesses(self) -> list[dict[str, Any]]:
        """The witness files, once all ranks have written the same counts or the time is up."""
        deadline = time.monotonic() + _SETTLE_S
        while True:
            found = self._place.witnesses()
            settled = len(found) >= self._claims.layout.tp and not unsettled(found)
            if not self._claims.mixed_comm or settled or time.monotonic() > deadline:
                return found
            time.sleep(_POLL_S)
