"""How a job that asks in stages is told to ask no more, and what counts of what it asked."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evals.files import DataError, write_whole
from evals.job import Answer

__all__ = ["STOP", "Stop", "counted", "end_when_told", "read_stop", "tell_to_stop"]

STOP = "stop.json"  # a Stop, written by the runner while the client asks
_LOOK_EVERY_S = 0.1


class Stop(BaseModel):
    """Why no more is asked: the verdict is decided.

    Attributes:
        stage: The stage that decided, from 0.
        questions: Asked until its end: these count, in the protocol's order, and no others.
        reason: One sentence.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: int = Field(ge=0)
    questions: int = Field(ge=1)
    reason: str


def tell_to_stop(cell: Path, stop: Stop) -> None:
    """Leave the word in the cell's folder, whole or not at all."""
    write_whole(cell / STOP, stop.model_dump_json(indent=1) + "\n")


def read_stop(cell: Path) -> Stop | None:
    """What the cell was told; None where it was asked to its end.

    Raises:
        DataError: The file is damaged.
    """
    try:
        return Stop.model_validate(json.loads((cell / STOP).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(f"{cell / STOP}: is damaged: {error}") from error


def counted(answers: Sequence[Answer], ids: Sequence[str], stop: Stop | None) -> list[Answer]:
    """The answers that the decision rests on: those of the questions until the end of its stage.

    While the verdict was made, later questions were asked already, and those whose answers came
    soonest are there: counting them would favour short answers.

    Args:
        answers: All that there are.
        ids: Of the questions, in the order in which they were asked.
        stop: What the cell was told.
    """
    if stop is None:
        return list(answers)
    asked = frozenset(ids[: stop.questions])
    return [answer for answer in answers if answer.id in asked]


def end_when_told(cell: Path) -> None:
    """End this process well as soon as it is told to stop.

    At once, without unwinding: each answer that came is on disk in one write, and the requests
    still in flight are worth nothing more; the server sees their connections close.
    """

    def look() -> None:
        while not (cell / STOP).exists():
            time.sleep(_LOOK_EVERY_S)
        sys.stderr.write("accuracy client: the verdict is decided; no more is asked\n")
        sys.stderr.flush()
        os._exit(0)

    threading.Thread(target=look, name="stop", daemon=True).start()
