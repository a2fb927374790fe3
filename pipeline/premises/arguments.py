"""Sizes and flags as SGLang resolved them, against what the launch asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.premises.model import other_model
from pipeline.premises.observed import Claims, Evidence, found
from pipeline.records.record import PremiseResult

__all__ = ["arguments", "asked_flags", "holds", "layout"]

# Held against the plan by :func:`pipeline.premises.model.other_model`.
_MODEL = frozenset({"model_path", "served_model_name"})

# What /server_info calls differently than the command line (srt/arg_groups, 0.5.16 to 0.5.23).
_NAMES = {"tp": "tp_size", "model": "model_path", "cuda_graph_bs": "cuda_graph_bs_decode"}

# Written by SGLang itself into something else than was asked, so that equality proves nothing.
_OWN = frozenset({"host", "port", "attn_dp_size", "dp_size", "enable_dp_attention", "fake"})


def layout(claims: Claims, evidence: Evidence) -> PremiseResult:
    """The sizes as resolved: 0.5.23 reports attention DP as attn_dp_size, 0.5.16 as dp_size."""
    name, info, planned = "layout", evidence.server_info, claims.layout
    wanted = {"tp_size": planned.tp, "ep_size": planned.ep, "nnodes": planned.nodes}
    wrong = [
        f"{key} is {info[key]}, planned {size}"
        for key, size in wanted.items()
        if key in info and info[key] != size
    ]
    attention_dp = _attention_dp(info)
    if attention_dp is not None and attention_dp != planned.attention_dp:
        wrong.append(f"attention DP is {attention_dp}, planned {planned.attention_dp}")
    if wrong:
        return found(name, "disproved", *wrong)
    if attention_dp is None or "tp_size" not in info:
        return found(name, "unproved", "the server does not tell its sizes")
    return found(name, "proved", f"/server_info says tp and attention DP of {planned}")


def _attention_dp(info: Mapping[str, Any]) -> int | None:
    size = info.get("attn_dp_size", 1)
    if isinstance(size, int) and size > 1:
        return size
    dp_size = info.get("dp_size")
    if not isinstance(dp_size, int):
        return None
    return dp_size if info.get("enable_dp_attention") else 1


def arguments(claims: Claims, evidence: Evidence) -> PremiseResult:
    """Flags as /server_info has them after SGLang resolved its arguments.

    SGLang may resolve a flag to something else: it divides chunked-prefill-size by the attention DP
    size, and it switches enable-symm-mem off on some devices and models (0.5.23: srt/arg_groups,
    platform_hook.py and model_overrides). A switch or a word that the *arm itself* sets is its
    claim, and must hold; a number, and what all arms share, is only told. The model and the name
    that it is served under must be the planned ones in every arm.
    """
    name, info = "arguments", evidence.server_info
    own = {flag.replace("-", "_") for flag, value in claims.arm.args.items() if value is not None}
    same = 0
    asked = dict(asked_flags(claims.launch.argv))
    wrong = other_model(asked, evidence)
    otherwise: list[str] = []
    untold: list[str] = []
    for flag, values in asked.items():
        key = _NAMES.get(flag, flag)
        if key in _OWN:
            continue
        if key not in info:
            untold.append(flag)
        elif key in _MODEL or _equal(values, info[key]):
            same += 1
        else:
            text = f"{flag} is {_text(info[key])}, asked for {' '.join(values) or 'on'}"
            strict = flag in own and not _numeric(values) and values != ["auto"]
            (wrong if strict else otherwise).append(text)
    if wrong:
        return found(name, "disproved", *wrong)
    silent = sorted((own | _MODEL).intersection(untold))
    if not info or silent:
        what = ", ".join(silent) if silent else "its arguments"
        return found(name, "unproved", f"the server does not tell {what}")
    rest = f"resolved otherwise by SGLang: {', '.join(otherwise)}" if otherwise else ""
    return found(name, "proved", f"/server_info has {same} flags as asked", rest)


def asked_flags(argv: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag of a command line, dashes as underscores, with its values; none: a bare flag."""
    flag: str | None = None
    values: list[str] = []
    for word in argv:
        if word.startswith("--") and len(word) > 2:
            if flag is not None:
                yield flag, values
            flag, values = word[2:].replace("-", "_"), []
        elif flag is not None:
            values.append(word)
    if flag is not None:
        yield flag, values


def holds(flag: str, values: Sequence[str], info: Mapping[str, object]) -> bool:
    """Whether the resolved arguments have a flag, named with underscores, as it was asked for."""
    key = _NAMES.get(flag, flag)
    return key in info and _equal(values, info[key])


def _equal(asked: Sequence[str], resolved: object) -> bool:
    if isinstance(resolved, list):
        return [str(item) for item in resolved] == list(asked)
    if len(asked) != 1:
        return not asked and resolved is True
    (word,) = asked
    if isinstance(resolved, bool) or resolved is None:
        return word.lower() == str(resolved).lower()
    if isinstance(resolved, int | float):
        return _number(word) == float(resolved)
    wanted = _json(word)
    return word == resolved or (wanted is not None and wanted in (resolved, _json(resolved)))


def _numeric(values: Sequence[str]) -> bool:
    return bool(values) and all(_number(value) is not None for value in values)


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _json(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "unset" if value is None else str(value)
