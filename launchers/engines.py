"""Engines: how a launch becomes a command line and an environment, and how its health is asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launchers.backends import ArgValue
from servegate_sglang.torch_cpu.settings import CPU_ARGS, cpu_env

__all__ = ["ENGINE_VERSIONS", "PORT", "LaunchSettings", "flags", "launch_argv", "launch_env"]

PORT = "{port}"
"""Stands in a planned command line for the free port that is chosen when the server starts."""

ENGINE_VERSIONS = ("0.5.16", "0.5.23")
"""The oldest and the newest SGLang that the flags and endpoints here were checked with."""

# From here on attention DP is asked for as --attn-dp-size; --dp-size with --enable-dp-attention
# still works in 0.5.23 but goes after 2026-12-31 (srt/arg_groups/hooks parallel_hook.py).
_ATTN_DP_SIZE_SINCE = (0, 5, 23)


@dataclass(frozen=True, kw_only=True)
class LaunchSettings:
    """All that a server's command line and environment follow from.

    Attributes:
        engine: ``"sglang"`` or ``"fake"``.
        version: The SGLang version whose flags are written, such as ``"0.5.23"``.
        device: ``"cuda"`` or ``"cpu"``.
        python: The interpreter that runs the server.
        model_path: Folder or hub name.
        served_name: Name under /v1/models.
        host: Address to bind.
        port: A port, or None for :data:`PORT`.
        tp: Tensor parallel size.
        attention_dp: Attention data parallel size; 1 is none.
        ep: Expert parallel size.
        nodes: Number of nodes.
        args: Server flags without dashes, already merged over shared, preset and arm.
        env: Variables, merged likewise.
        plugins: SGLang plugins by entry point name, merged likewise.
        fake: Settings of the fake engine, merged likewise.
    """

    engine: str
    version: str
    device: str
    python: str | None
    model_path: str
    served_name: str
    host: str
    port: int | None
    tp: int
    attention_dp: int
    ep: int
    nodes: int
    args: Mapping[str, ArgValue]
    env: Mapping[str, str]
    plugins: Sequence[str]
    fake: Mapping[str, object]


def flags(args: Mapping[str, ArgValue]) -> list[str]:
    """``{"tp-size": 4, "x": True, "y": [1, 2]}`` as ``--tp-size 4 --x --y 1 2``, in given order."""
    argv: list[str] = []
    for name, value in args.items():
        if value is None or value is False:
            continue
        argv.append(f"--{name}")
        if isinstance(value, dict):
            argv.append(json.dumps(value))
        elif isinstance(value, list):
            argv += [str(item) for item in value]
        elif value is not True:
            argv.append(str(value))
    return argv


def launch_argv(settings: LaunchSettings) -> list[str]:
    """The server's whole command line, with :data:`PORT` where a free port is to be taken."""
    python = settings.python if settings.python is not None else sys.executable
    served = settings.served_name
    own: dict[str, ArgValue] = {
        "model-path": settings.model_path,
        # SGLang's own default is the path; a flag that says the same would only be noise.
        "served-model-name": None if served == settings.model_path else served,
        "host": settings.host,
        "port": PORT if settings.port is None else settings.port,
        "tp-size": settings.tp,
        **_layout_args(settings),
    }
    if settings.engine == "fake":
        fake = json.dumps(dict(settings.fake), sort_keys=True)
        return [
            sys.executable,
            "-P",
            "-m",
            "launchers.fake_engine",
            "--fake",
            fake,
            *flags(own),
            *flags(settings.args),
        ]
    shared = {**CPU_ARGS, **settings.args} if settings.device == "cpu" else settings.args
    return [python, "-m", "sglang.launch_server", *flags(own), *flags(shared)]


def _layout_args(settings: LaunchSettings) -> dict[str, ArgValue]:
    args: dict[str, ArgValue] = {}
    if settings.attention_dp > 1:
        if _version(settings.version) >= _ATTN_DP_SIZE_SINCE:
            args["attn-dp-size"] = settings.attention_dp
        else:
            args["dp-size"] = settings.attention_dp
            args["enable-dp-attention"] = True
    if settings.ep > 1:
        args["ep-size"] = settings.ep
    if settings.nodes > 1:
        args["nnodes"] = settings.nodes
    return args


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())


def launch_env(settings: LaunchSettings, *, cores: int) -> dict[str, str]:
    """The variables that this launch sets over the inherited environment.

    SGLANG_PLUGINS is always among them: where it is missing or empty SGLang loads every installed
    plugin (sglang 0.5.23, srt/plugins/__init__.py), which would differ from machine to machine.
    """
    env: dict[str, str] = {}
    plugins = list(settings.plugins)
    if settings.engine == "sglang" and settings.device == "cpu":
        env |= cpu_env(tp=settings.tp, cores=cores)
        plugins.insert(0, "servegate_torch_cpu")
    env["SGLANG_PLUGINS"] = ",".join(dict.fromkeys(plugins)) if plugins else "none"
    if settings.engine == "sglang":
        # SGLang retitles its processes with py-setproctitle, which would overwrite the environment
        # that the kernel shows of them: what each rank was started with is part of an arm's proof.
        env["SPT_NOENV"] = "1"
    return {**env, **settings.env}
