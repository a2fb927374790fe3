"""The file in which each rank says what it is, which hooks hold, and which calls they took.

A killed worker runs no exit code, so the file is written as things happen: at creation, at the
first call of each kind, at every power of two of the number of calls, and at most two seconds
after any call. Under CUDA graphs Python runs at capture only: the counts then prove the path, not
the volume.
"""

import json
import logging
import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from servegate_sglang.mixed_comm.policy import Operation, Reason

# Version 1: first form.
# Version 2: kernels, nodes, versions of CUDA, NCCL and servegate, loaded_at and began_at.
SCHEMA_VERSION = 2
WRITE_DELAY_S = 2.0

logger = logging.getLogger(__name__)

Shape = Sequence[int]


def now() -> str:
    """The time as the file has it, in UTC to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Witness:
    """Counters of one rank, and their file `witness-rank{R}.json` when there is a folder."""

    def __init__(self, folder: Path | None, identity: dict[str, Any]) -> None:
        """Write the first file.

        Args:
            folder: where the file goes; None: only count.
            identity: JSON values that do not change; must hold `rank`.

        Raises:
            OSError: the folder cannot be written.
        """
        self._path = None if folder is None else folder / f"witness-rank{identity['rank']}.json"
        self._identity = identity
        self._operations: dict[str, int] = {}
        self._passed: dict[str, int] = {}
        self._first_call: dict[str, dict[str, Any]] = {}
        self._shortcuts_declined = 0
        self._calls = 0
        # The timer's thread and the scheduler's may want to write at once.
        self._lock = threading.Lock()
        self._scheduled = False
        self._write()

    def took(self, operation: Operation, x: Shape, out: Shape, dtype: str) -> None:
        """Count a call that `operation` computed; shapes of its input and output."""
        first = operation not in self._operations
        if first:
            self._first_call[operation] = {"in": list(x), "out": list(out), "dtype": dtype}
        self._operations[operation] = self._operations.get(operation, 0) + 1
        self._after_call(first=first)

    def passed(self, reason: Reason) -> None:
        """Count a call that went to SGLang's own code."""
        first = reason not in self._passed
        self._passed[reason] = self._passed.get(reason, 0) + 1
        self._after_call(first=first)

    def compiled(self) -> None:
        """Count a call seen while torch.compile traces it: no clock and no file may be used."""
        self._passed[Reason.COMPILING] = self._passed.get(Reason.COMPILING, 0) + 1

    def declined_shortcut(self) -> None:
        """Count a decode batch that SGLang would have sent past both hooked functions."""
        self._shortcuts_declined += 1
        self._after_call(first=self._shortcuts_declined == 1)

    def document(self) -> dict[str, Any]:
        """What the file says now."""
        return {
            "schema_version": SCHEMA_VERSION,
            "pid": os.getpid(),
            **self._identity,
            "operations": dict(self._operations),
            "passed_through": dict(self._passed),
            "shortcuts_declined": self._shortcuts_declined,
            "first_call": dict(self._first_call),
            "updated_at": now(),
        }

    def _after_call(self, *, first: bool) -> None:
        self._calls += 1
        if first or self._calls & (self._calls - 1) == 0:
            self._write_or_give_up()
        elif self._path is not None and not self._scheduled:
            self._scheduled = True
            later = threading.Timer(WRITE_DELAY_S, self._write_late)
            later.daemon = True
            later.start()

    def _write_late(self) -> None:
        self._scheduled = False
        self._write_or_give_up()

    def _write_or_give_up(self) -> None:
        try:
            self._write()
        except OSError:
            # Serving goes on: whoever asks for proof finds the file stale or missing.
            logger.exception("MIXEDCOMM_PLUGIN cannot write %s; it gives up on it", self._path)
            self._path = None

    def _write(self) -> None:
        with self._lock:
            if self._path is None:
                return
            text = json.dumps(self.document(), indent=1) + "\n"
            temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self._path)
