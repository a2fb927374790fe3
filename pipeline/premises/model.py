"""Which model a server serves, and under which name, against what was planned; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from pipeline.premises.observed import Evidence

__all__ = ["other_model"]

# A model's folder, or a file in it, in the local cache of huggingface_hub ("Understand caching").
_SNAPSHOT = re.compile(r"(?:^|/)models--([^/]+)/snapshots/[^/]+(?:/|$)")
_TRUE = ("true", "1", "yes", "y")  # as SGLang reads switches (0.5.23: srt/environ.py, EnvBool)


def other_model(asked: Mapping[str, Sequence[str]], evidence: Evidence) -> list[str]:
    """How the server's model and name differ from the planned ones, as far as it tells them.

    SGLang keeps a path as it was given, but for a GGUF file on the hub, which it replaces by the
    file in the local cache, and for models of ModelScope, by their folder there (0.5.16 and 0.5.23:
    srt/arg_groups/model_path_hook.py). The name, if none is given, is the path, replaced or not.

    Args:
        asked: Flags of the command line with their values.
        evidence: What was read from the live launch.
    """
    path, info = asked["model_path"][0], evidence.server_info
    named = asked.get("served_model_name")
    wrong = []
    if "model_path" in info and not _same(path, str(info["model_path"]), evidence):
        wrong.append(f"the model is {info['model_path']}, planned {path}")
    if "served_model_name" in info:
        name = str(info["served_model_name"])
        if name != named[0] if named else not _same(path, name, evidence):
            wrong.append(f"the model is served as {name}, planned {named[0] if named else path}")
    return wrong


def _same(planned: str, told: str, evidence: Evidence) -> bool:
    real = evidence.real_paths
    if planned == told or (planned in real and real[planned] == real.get(told)):
        return True
    repository = _repository(planned)
    snapshot = _SNAPSHOT.search(told) or _SNAPSHOT.search(real.get(told, ""))
    if snapshot is not None:
        return repository == snapshot[1].replace("--", "/")
    if evidence.environ.get("SGLANG_USE_MODELSCOPE", "").lower() in _TRUE:
        # Its cache writes three underscores for a dot in a name.
        folder = "/".join(PurePath(told).parts[-2:])
        return repository in (folder, folder.replace("___", "."))
    return False


def _repository(planned: str) -> str:
    """`owner/name`, of which `owner/name/file.gguf` is a file and `owner/name:Q4` one kind."""
    return "/".join(planned.split("/")[:2]).partition(":")[0]
