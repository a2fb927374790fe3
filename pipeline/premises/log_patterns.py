"""Lines of a server's log that say something about the path it takes."""

from __future__ import annotations

__all__ = ["SIGNS"]

SIGNS: dict[str, str] = {
    # launchers/plugins/servegate_sglang/mixed_comm/session.py, one line a rank.
    "mixed-comm active": r"MIXEDCOMM_PLUGIN active rank=\d+",
    "mixed-comm idle": r"MIXEDCOMM_PLUGIN idle \(.*?\) rank=\d+",
    # sglang 0.5.23: srt/distributed/device_communicators/custom_all_reduce_v2.py, once a group.
    "custom all-reduce v2": r"All Reduce config: symmetric_memory",
    # sglang 0.5.23: srt/arg_groups/platform_hook.py.
    "symmetric memory off": r"Disabling symmetric memory",
    # sglang 0.5.23: srt/plugins/__init__.py and hook_registry.py; only logged, never raised.
    "plugin failed": (r"Failed to (?:load plugin|execute general plugin:|apply hooks to) \S+"),
}
"""Regular expressions by name; a line counts once for each that it matches."""
