"""Makes the files of one job small that must stay comparable from launch to launch; pure."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

__all__ = ["answers", "trails"]

_Rows = list[dict[str, Any]]


def answers(texts: Sequence[str]) -> list[str]:
    """answers.jsonl of all launches, with digests for responses that all were marked alike.

    Alike: the same mark and the same extracted answer, each time. A report shows no response to
    such a question, but tells how many are equal. Times keep milliseconds.

    Args:
        texts: The files of one job.
    """
    files = [_rows(text) for text in texts]
    seen: dict[str, set[tuple[str, str | None]]] = defaultdict(set)
    for row in _all(files):
        seen[row["id"]].add((row["mark"], row["extracted"]))
    for row in _all(files):
        if len(seen[row["id"]]) == 1:
            digest = hashlib.sha256(row["response"].encode()).hexdigest()[:12]
            row["response"] = f"(sha256 {digest})"
        for name in ("started_at", "ended_at"):
            row[name] = None if row[name] is None else round(row[name], 3)
    return [_text(rows) for rows in files]


def trails(texts: Sequence[str]) -> list[str]:
    """logprobs.jsonl of all launches, with the fewest digits that give the same float32.

    Where every trail of a text took the same token, only that one is left of the likeliest: the
    others are asked for where trails part.

    Args:
        texts: The files of one job.
    """
    files = [_rows(text) for text in texts]
    taken: dict[tuple[str, int], set[int]] = defaultdict(set)
    for row in _all(files):
        for step, token in enumerate(row["tokens"]):
            taken[row["id"], step].add(token)
    for row in _all(files):
        row["top"] = [
            [pair for pair in likeliest if pair[0] == row["tokens"][step]]
            if len(taken[row["id"], step]) == 1
            else likeliest
            for step, likeliest in enumerate(row["top"])
        ]
    return [_text(_shortest(rows)) for rows in files]


def _shortest(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, list):
        return [_shortest(one) for one in value]
    if isinstance(value, dict):
        return {key: _shortest(one) for key, one in value.items()}
    if isinstance(value, float) and float(np.float32(value)) == value:
        return float(str(np.float32(value)))
    return value


def _all(files: Sequence[_Rows]) -> Iterator[dict[str, Any]]:
    for rows in files:
        yield from rows


def _rows(text: str) -> _Rows:
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _text(rows: _Rows) -> str:
    made = (json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in rows)
    return "".join(f"{line}\n" for line in made)
