"""The TCP ports that SGLang binds on this machine for one command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["bound_ports"]

_DELTA = 233
_FIXED = 6
_HIGHEST = 65535
_ATTENTION_DP = ("--attn-dp-size", "--enable-dp-attention")
_DP_SIZE = ("--attn-dp-size", "--dp-size", "--data-parallel-size", "--dp")


def bound_ports(argv: Sequence[str], env: Mapping[str, str], port: int) -> set[int]:
    """The server's own port, those that follow from it, and those that `argv` fixes.

    As in 0.5.23: srt/server_args.py, PortArgs.init_new, and srt/rust_server/server.py; 0.5.16 binds
    one less. Ports that SGLang draws for itself, having probed them, are not among them.

    Args:
        argv: The command line; `{port}` need not have been filled in.
        env: The server's environment.
        port: The server's port.
    """
    meeting = _number(argv, "--dist-init-addr")
    ports = {port} | {fixed for fixed in (_number(argv, "--nccl-port"), meeting) if fixed}
    if not any(word in _ATTENTION_DP for word in argv):
        return ports
    derived = port + _DELTA if port + _DELTA <= _HIGHEST else port - _DELTA
    first = derived if meeting is None else meeting
    ranks = 0
    if env.get("SGLANG_RUST_SERVER", "").lower() in ("true", "1", "yes", "y"):
        ranks = max(_number(argv, flag) or 1 for flag in _DP_SIZE)
    many = _FIXED + ranks
    base = first + 1 if first + many <= _HIGHEST else first - many - 1
    return ports | {first, *range(base, base + many), *range(port, port + ranks)}


def _number(argv: Sequence[str], flag: str) -> int | None:
    """What a flag as :func:`launchers.engines.flags` writes it ends in, behind a colon if any."""
    words = argv[argv.index(flag) + 1 :][:1] if flag in argv else []
    last = "".join(words).rpartition(":")[2]
    return int(last) if last.isdecimal() else None
