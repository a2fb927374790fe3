"""Run by the engine's interpreter: what is installed there, as one line of JSON.

Imports nothing of the engine, which would take seconds; `launchers/machine/host.py` runs it.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata

GROUPS = ("sglang.srt.plugins", "sglang.srt.platforms")


def versions(names: Iterable[str]) -> dict[str, str]:
    """Versions by distribution name; what is not installed is left out.

    What was installed from a version control system says its revision, too, as ``NAME commit``.
    """
    found = {}
    for name in names:
        try:
            one = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[name] = one.version
        if commit := _commit(one.read_text("direct_url.json")):
            found[f"{name} commit"] = commit
    return found


def _commit(direct_url: str | None) -> str | None:
    """The revision in a distribution's direct_url.json (PEP 610); None where there is none."""
    try:
        told = json.loads(direct_url or "{}")
    except ValueError:
        return None
    commit = told.get("vcs_info", {}).get("commit_id")
    return commit if isinstance(commit, str) else None


def plugins() -> list[dict[str, str]]:
    """Every SGLang plugin that this interpreter can see."""
    return [
        {
            "group": group,
            "name": point.name,
            "value": point.value,
            "distribution": point.dist.name if point.dist else "unknown",
        }
        for group in GROUPS
        for point in metadata.entry_points(group=group)
    ]


def tool(name: str) -> str | None:
    """The last line of `name --version`, and where it is; None: not on PATH."""
    path = shutil.which(name)
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"{path}: {error}"
    lines = done.stdout.strip().splitlines()
    return f"{lines[-1] if lines else 'says nothing'} ({path})"


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "python": sys.version.split()[0],
                "versions": versions(sys.argv[1:]),
                "plugins": plugins(),
                "nvcc": tool("nvcc"),
                "nsys": tool("nsys"),
            }
        )
    )
