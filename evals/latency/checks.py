"""Whether each request of a benchmark run was served, and whether its times are possible."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeGuard

__all__ = [
    "Problem",
    "events_ms",
    "is_number",
    "is_time",
    "request_problems",
    "summary_problems",
    "unseen_tokens",
    "usable",
]

# Of an answer's tokens, those that its first event and its gaps account for.
_LEAST_SEEN = 0.95
# A summary may differ from the times that it is of: the benchmark's TPOT ends with the stream's
# end and not with its last token, and versions round. Beyond this factor it is of something else.
_MOST_APART = 2.0
_NAMED = 4


class Problem(NamedTuple):
    """Why a run must not count: a failure class, and a clause that names the requests."""

    failure_class: str
    reason: str


def is_number(value: object) -> TypeGuard[float]:
    """True for a finite number; JSON also has integers that no float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_time(value: object) -> TypeGuard[float]:
    """True for a finite, positive number."""
    return is_number(value) and value > 0


def usable(row: Mapping[str, Any]) -> bool:
    """Whether something can be worked out from the run's times: no null, nothing infinite.

    A request without a token has a time to first token of 0 and no gaps, which is usable.
    """
    starts = row.get("start_times")
    values = [*row["ttfts"], *(starts if isinstance(starts, list) else [])]
    return all(is_time(value) or value == 0 for value in values) and all(
        is_time(gap) for gaps in row["itls"] for gap in gaps
    )


def request_problems(
    row: Mapping[str, Any], lengths: tuple[int, int] | None, *, by_chunk: bool = False
) -> list[Problem]:
    """What is wrong with requests that did not fail, by kind, the worst kind first.

    This is what a served request is, in runs of our own and in results of others.

    SGLang's benchmark counts a request as completed when its stream ends, with the requested
    length and a time to first token of 0 where no text came (serving.py 0.5.23,
    async_request_sglang_generate). So each request is looked at.

    Args:
        row: One run, as ``--output-details`` writes it; it may lack ``errors`` and ``output_lens``.
        lengths: Fewest and most tokens that each answer was to have; None where that varies.
        by_chunk: Whether the client counts one gap a chunk, however many tokens it brought.
    """
    found: dict[str, list[tuple[int, str]]] = {
        "no-token": [],
        "bad-times": [],
        "short-output": [],
        "unseen-tokens": [],
    }
    errors = row.get("errors") or []
    counted = row.get("output_lens") or [None] * len(row["ttfts"])
    requests = zip(row["ttfts"], row["itls"], counted, strict=True)
    for index, (ttft, gaps, tokens) in enumerate(requests):
        if index < len(errors) and errors[index]:
            continue
        least = None if lengths is None else _least(row, lengths[0])
        most = None if lengths is None else lengths[1]
        problem = _of_times(ttft, gaps)
        if problem is None and "output_lens" in row:
            problem = _of_tokens(tokens, len(gaps), least, most, by_chunk=by_chunk)
        if problem is not None:
            found[problem.failure_class].append((index + 1, problem.reason))
    count = len(row["ttfts"])
    told = {
        "no-token": "gave no token",
        "bad-times": "have a time that is not finite and positive",
        "short-output": "do not have the requested length",
        "unseen-tokens": "brought several tokens at once that no gap accounts for",
    }
    if not any(row["itls"]) and not found["no-token"] and not found["bad-times"]:
        return [Problem("no-gaps", "no gap between tokens was seen: the server did not stream")]
    return [
        Problem(kind, f"{len(cases)} of {count} requests {told[kind]}: {_named(cases)}")
        for kind, cases in found.items()
        if cases
    ]


def _of_times(ttft: object, gaps: Sequence[object]) -> Problem | None:
    if not gaps and (ttft is None or ttft == 0):
        return Problem("no-token", "")
    if not is_time(ttft):
        return Problem("bad-times", f"its time to first token is {ttft!r} s")
    for number, gap in enumerate(gaps, start=1):
        if not is_time(gap):
            return Problem("bad-times", f"its gap {number} is {gap!r} s")
    return None


def _of_tokens(
    tokens: object, gaps: int, least: float | None, most: int | None, *, by_chunk: bool
) -> Problem | None:
    if not isinstance(tokens, int) or tokens < 1:
        return Problem("short-output", f"{tokens!r} tokens")
    if least is not None and tokens < least:
        return Problem("short-output", f"{tokens} tokens where {most} were asked")
    if most is not None and tokens > most:
        return Problem("short-output", f"{tokens} tokens where {most} were asked")
    seen_enough = gaps > 0 if by_chunk else 1 + gaps >= _LEAST_SEEN * tokens
    if tokens > 1 and not seen_enough:
        return Problem("unseen-tokens", f"{1 + gaps} of {tokens}")
    return None


def _least(row: Mapping[str, Any], length: int) -> float:
    """Tokens that an answer must be seen to have.

    Where events carry only what is new, the last tokens of an answer may print as nothing, and
    the benchmark counts up to the last event with text; else every event holds the whole answer.
    """
    info = row.get("server_info")
    told = info if isinstance(info, dict) else {}
    new_only = told.get("incremental_streaming_output") or told.get("stream_output")
    if new_only or row.get("backend") not in (None, "sglang"):
        return _LEAST_SEEN * length
    return length


def _named(cases: Sequence[tuple[int, str]]) -> str:
    """Numbers of requests, counted from 1 in the order of the file."""
    texts = [f"{number} ({reason})" if reason else str(number) for number, reason in cases]
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    word = "request" if len(texts) == 1 else "requests"
    return f"{word} {', '.join(texts[:_NAMED])}{more}"


def summary_problems(row: Mapping[str, Any], fields: Sequence[str]) -> Iterator[Problem]:
    """What the run's own summary says that cannot be, or that its requests contradict.

    Args:
        row: One run whose requests have no problem.
        fields: Times and rates of its summary; those that it lacks are not asked for.
    """
    for field in fields:
        if row.get(field) is not None and not is_time(row[field]):
            value = row[field]
            yield Problem("bad-times", f"{field} is {value!r}, which is not finite and positive")
            return
    if not usable(row):
        yield Problem("bad-times", "a start time is not finite, or is negative")
        return
    paces = sorted(gap for gaps in row["itls"] for gap in gaps)
    means = sorted(
        math.fsum(gaps) / (tokens - 1)
        for gaps, tokens in zip(row["itls"], row["output_lens"], strict=True)
        if gaps and tokens > 1
    )
    for field, seconds in (("median_itl_ms", paces), ("median_tpot_ms", means)):
        if not seconds or not is_time(row.get(field)):
            continue
        own = 1000 * seconds[len(seconds) // 2]
        if not 1 / _MOST_APART <= row[field] / own <= _MOST_APART:
            yield Problem(
                "bad-times", f"{field} is {row[field]:.4g}, and that of its own gaps is {own:.4g}"
            )


def unseen_tokens(counts: Mapping[str, int]) -> Problem | None:
    """The same of a record's counts, for all its requests together.

    Args:
        counts: `completed`, `output_tokens` and `itls`; None is said where one is not there.
    """
    names = ("completed", "itls", "output_tokens")
    if any(name not in counts for name in names):
        return None
    completed, gaps, tokens = (counts[name] for name in names)
    if completed + gaps >= _LEAST_SEEN * tokens:
        return None
    return Problem(
        "unseen-tokens",
        f"first tokens and gaps account for {completed + gaps} of {tokens} output tokens: requests "
        "gave no token, or several at once",
    )


def events_ms(row: Mapping[str, Any]) -> list[float]:
    """Times from event to event of all requests, in ms, each once however many tokens it brought.

    Args:
        row: One run whose times are usable.
    """
    # Equal gaps in a row are one event's (evals.latency.full_batch.chunks has the same for arrays).
    return [1000 * gap * len(list(equal)) for gaps in row["itls"] for gap, equal in groupby(gaps)]
