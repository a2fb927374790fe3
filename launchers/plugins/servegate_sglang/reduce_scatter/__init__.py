"""SGLang plugin with the two other changes of sglang#23713, each behind a switch of its own.

They concern how the output of the experts comes back to each attention-DP rank, with or without
MixedComm. Both are off by default, so that no baseline changes unseen.

Environment:
    SERVEGATE_PREFER_REDUCE_SCATTER: 1 takes reduce_scatter where all ranks hold the same number of
        rows, and reduce_scatterv only where they do not. SGLang 0.5.23 takes reduce_scatterv for
        both where attention DP = EP = TP, unless --boundary-reduction rs forbids it altogether.
    SERVEGATE_FIX_REDUCE_SCATTERV: 1 keeps reduce_scatterv away from layouts with attention TP > 1,
        where it splits by attention-DP rank over the whole TP group and is wrong. SGLang 0.5.16 has
        the mistake (attention DP = EP > 1 with attention TP > 1); from 0.5.17 on there is nothing
        to fix.
    SERVEGATE_WITNESS_DIR: folder of reduce-scatter-rank<R>.json, which count what was changed.
"""

import os

from servegate_sglang.reduce_scatter.switches import FIX, PREFER

_ON = frozenset({"1", "true"})
_OFF = frozenset({"", "0", "false"})


def register() -> None:
    """Register the hooks of the switches that are on; do nothing at all when both are off.

    Raises:
        SystemExit: A switch has an unknown value, or its hook cannot be placed in this SGLang. The
            loader swallows `Exception` and would serve the baseline under this arm's name.
    """
    wanted = [name for name in (PREFER, FIX) if _is_on(name)]
    if not wanted:
        return
    try:
        from servegate_sglang.reduce_scatter.plugin import activate

        activate(wanted, os.environ)
    except Exception as error:  # the loader swallows Exception, but not SystemExit
        raise SystemExit(f"reduce-scatter: {type(error).__name__}: {error}") from error


def _is_on(name: str) -> bool:
    value = os.environ.get(name, "").strip().lower()
    if value not in _ON | _OFF:
        raise SystemExit(f"reduce-scatter: {name}={value!r} is not understood; use 1 or 0")
    return value in _ON
