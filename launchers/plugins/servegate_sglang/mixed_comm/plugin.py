"""Activation: check this SGLang, then register the hooks."""

from collections.abc import Mapping
from functools import partial
from importlib import metadata

from servegate_sglang.mixed_comm.settings import read_settings
from servegate_sglang.mixed_comm.targets import parse_version, resolve, targets_for


def activate(environment: Mapping[str, str]) -> None:
    """Register an AROUND hook on every target; SGLang applies them once all plugins have run.

    Raises:
        SettingsError, UnsupportedVersionError, HookTargetError: before anything is registered.
    """
    settings = read_settings(environment)
    version = metadata.version("sglang")
    targets = targets_for(version)
    originals = resolve(targets)

    # Only now: these import SGLang, and an unsupported one may not even import.
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    from servegate_sglang.mixed_comm.hooks import MixedComm
    from servegate_sglang.mixed_comm.session import begin
    from servegate_sglang.mixed_comm.witness import now

    plugin = MixedComm(
        parse_version(version),
        targets,
        originals,
        partial(begin, settings, version, targets, now()),
    )
    for target in targets:
        HookRegistry.register(target.path, plugin.hook(target.role), HookType.AROUND)
