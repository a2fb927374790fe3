"""What servegate cannot serve on any machine, by SGLang's flags and the sizes of a layout; pure.

A launch is one server on one machine, and servegate's clients speak plain HTTP, without a key, and
send text. A server that needs more than that comes up and waits, or is another one than planned.
Which flags exist and which values they take is asked of SGLang's own parser
(:mod:`launchers.machine.flags`), not said again here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from launchers.backends import ArgValue

__all__ = ["EP_SPANS_TP", "LIMITS", "Limit", "refused_args", "refused_sizes"]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Flags that no launch may have.

    Attributes:
        flags: Names without dashes.
        why: What they need that servegate does not give; the end of a sentence.
        harmless: Values with which they ask for nothing.
    """

    flags: tuple[str, ...]
    why: str
    harmless: tuple[ArgValue, ...] = ()


_PEER = "needs a second server and a router beside it, and a launch is one server"

# Names and meanings: sglang 0.5.23, srt/arg_groups/fields/ (disagg, serving, parallel, model).
LIMITS = (
    Limit(flags=("disaggregation-mode",), why=_PEER, harmless=("null",)),
    Limit(flags=("encoder-only", "language-only"), why=_PEER),
    Limit(flags=("decoupled-spec-role",), why=_PEER, harmless=("null",)),
    Limit(flags=("grpc-mode", "smg-grpc-mode"), why="serves gRPC only, and the clients speak HTTP"),
    Limit(flags=("ssl-keyfile", "ssl-certfile"), why="serves HTTPS, and the clients speak HTTP"),
    Limit(flags=("api-key",), why="makes the server refuse servegate's requests: they send no key"),
    Limit(flags=("skip-tokenizer-init",), why="makes the server refuse text"),
    Limit(flags=("is-embedding",), why="makes a server that generates nothing"),
    Limit(
        flags=("gated-launch-port", "checkpoint-engine-wait-weights-before-ready"),
        why="makes the server wait for another program before it serves",
    ),
    Limit(
        flags=("node-rank",),
        why="starts a server's further node, which serves nothing itself",
        harmless=(0,),
    ),
    Limit(flags=("delete-ckpt-after-loading",), why="deletes the model that the next launch loads"),
    Limit(
        flags=("config",),
        why="names a file of further flags, which no plan shows; write them into args",
    ),
)
"""All of them."""

# sglang 0.5.23: srt/arg_groups/overrides.py _A2A_EP_SPANNING_BACKENDS and _a2a_backend_overrides.
EP_SPANS_TP = frozenset(
    {
        "ascend_fuseep",
        "deepep",
        "deepep_v2",
        "flashinfer",
        "flashinfer_megamoe",
        "megamoe",
        "mooncake",
        "mori",
        "nixl",
        "pplx",
    }
)
"""Values of ``moe-a2a-backend`` with which SGLang sets its expert parallel size to tp by itself."""


def refused_args(args: Mapping[str, ArgValue]) -> Iterator[tuple[str, str]]:
    """Each flag that no launch may have, and why.

    Args:
        args: Of one arm, merged with what all arms share.
    """
    for limit in LIMITS:
        for flag in limit.flags:
            value = args.get(flag)
            if value is not None and value is not False and value not in limit.harmless:
                yield flag, limit.why


def refused_sizes(args: Mapping[str, ArgValue], *, tp: int, ep: int) -> str:
    """Why SGLang does not start with this expert parallel size, or takes another; "" if it does.

    Args:
        args: Of one arm, merged with what all arms share.
        tp: Tensor parallel size of the layout.
        ep: Expert parallel size of the layout.
    """
    backend = args.get("moe-a2a-backend")
    asked = f"moe-a2a-backend {backend}"
    if args.get("enable-waterfill") is True and backend not in ("deepep", "megamoe"):
        backend, asked = "deepep", "enable-waterfill, which takes moe-a2a-backend deepep,"
    if backend in EP_SPANS_TP and ep != tp:
        return f"{asked} makes SGLang set ep to tp, {tp}; set ep: {tp}"
    # srt/arg_groups/parallel_hook.py handle_eplb_and_dispatch: an assertion without a word.
    if args.get("enable-eplb") is True and ep == 1:
        return "enable-eplb needs ep above 1, and SGLang does not start without"
    return ""
