"""The environment of the live processes, and the set of SGLang plugins that they loaded."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.premises.observed import Claims, Evidence, found
from pipeline.records.record import PremiseResult

__all__ = ["environment", "plugins"]

# --enable-symm-mem and --enable-nccl-nvls act through these, which SGLang sets for its schedulers
# (0.5.23: srt/entrypoints/engine.py, _set_envs_and_config).
_FROM_FLAGS = {
    "enable-symm-mem": {"NCCL_CUMEM_ENABLE": "1", "NCCL_NVLS_ENABLE": "1"},
    "enable-nccl-nvls": {"NCCL_NVLS_ENABLE": "1"},
}


def environment(claims: Claims, evidence: Evidence) -> PremiseResult:
    """Every planned variable in the launched process and in each scheduler it started."""
    name, launch = "environment", claims.launch
    wrong = _differences("the server", evidence.environ, launch.env, launch.env_unset)
    ranks = evidence.rank_environs
    derived = {
        variable: value
        for flag, variables in _FROM_FLAGS.items()
        if claims.arm.args.get(flag) is True and claims.engine == "sglang"
        for variable, value in variables.items()
    }
    for pid, environ in ranks.items():
        wanted = {**launch.env, **derived}
        wrong += _differences(f"scheduler {pid}", environ, wanted, launch.env_unset)
    if wrong:
        return found(name, "disproved", *wrong)
    told = f"the live process has all {len(launch.env)} planned variables"
    if claims.engine == "sglang" and not ranks:
        return found(name, "unproved", told, "its schedulers' environment could not be read")
    also = f"and so have its {len(ranks)} schedulers" if ranks else ""
    return found(name, "proved", f"{told} {also}".strip())


def _differences(
    who: str, environ: Mapping[str, str], wanted: Mapping[str, str], unset: list[str]
) -> list[str]:
    wrong = [
        f"{variable} is {environ.get(variable, 'unset')} in {who}, planned {value}"
        for variable, value in wanted.items()
        if environ.get(variable) != value
    ]
    wrong += [
        f"{variable} is {environ[variable]} in {who}, planned unset"
        for variable in unset
        if variable in environ
    ]
    return wrong


def plugins(claims: Claims, evidence: Evidence) -> PremiseResult:
    """The plugin set is named, and no plugin failed; SGLang logs a failure and serves without it.

    SGLang names the plugins that it loads before its logging is set up, so that success leaves no
    line. What ours did, their witness says (the premise "communication path").
    """
    name = "plugins"
    failed = evidence.signs.get("plugin failed", ())
    if failed:
        return found(name, "disproved", *failed[:3])
    named = evidence.environ.get("SGLANG_PLUGINS", "")
    if not named:
        return found(
            name, "disproved", "SGLANG_PLUGINS is not set, so that every installed plugin is loaded"
        )
    if set(named.split(",")) - {"none"} != set(claims.plugins):
        return found(name, "disproved", f"SGLANG_PLUGINS is {named}, planned {claims.plugins}")
    return found(name, "proved", f"SGLANG_PLUGINS={named}, and no plugin failed to load")
