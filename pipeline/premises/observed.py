"""What a launch claims, and what was read from it while it lived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launchers.backends import MIXED_COMM_PLUGIN
from pipeline.plan.model import ArmPlan, Launch, LayoutKey, Plan
from pipeline.records.record import PremiseResult, State

__all__ = ["KERNELS", "Claims", "Evidence", "found"]

KERNELS = "decode kernels"
"""The name of the premise that only a trace can prove."""


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What the plan says that a launch is.

    Attributes:
        launch: The launch, with its whole command line and environment.
        arm: Its arm, preset written out.
        engine: ``"sglang"`` or ``"fake"``.
        device: ``"cuda"`` or ``"cpu"``.
    """

    launch: Launch
    arm: ArmPlan
    engine: str
    device: str

    @classmethod
    def of(cls, plan: Plan, launch: Launch) -> Claims:
        """The claims of one launch of a plan."""
        arm = next(arm for arm in plan.arms if arm.name == launch.arm)
        return cls(launch=launch, arm=arm, engine=plan.engine, device=plan.device)

    @property
    def layout(self) -> LayoutKey:
        """How the server is spread."""
        return self.launch.layout

    @property
    def plugins(self) -> list[str]:
        """The SGLang plugins that are to be loaded, by entry point name."""
        named = self.launch.env.get("SGLANG_PLUGINS", "").split(",")
        return [name for name in named if name and name != "none"]

    @property
    def mixed_comm(self) -> bool:
        """True for an arm that loads servegate's MixedComm plugin."""
        return MIXED_COMM_PLUGIN in self.plugins


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was read from a live launch.

    Attributes:
        server_info: The server's answer to /server_info; {} if it gave none.
        environ: The environment of the live process, read from the kernel.
        rank_environs: The same of each scheduler process that /server_info names, by process id;
            empty where it names none, or they cannot be read.
        witnesses: The witness files that lie in the launch's folder, parsed, in rank order.
        signs: Lines of the server's log by the name of the sign that they are
            (:data:`pipeline.premises.log_patterns.SIGNS`).
        real_paths: Where paths of models lead, links followed, by path; of those that exist here.
        kernels: What a trace of this launch showed (:mod:`evals.comm_kernels`); None: none taken.
    """

    server_info: Mapping[str, Any]
    environ: Mapping[str, str]
    witnesses: Sequence[Mapping[str, Any]]
    rank_environs: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    signs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    real_paths: Mapping[str, str] = field(default_factory=dict)
    kernels: Mapping[str, Any] | None = None


def found(name: str, state: State, *details: str) -> PremiseResult:
    """A finding; details are joined to one sentence."""
    return PremiseResult(name=name, state=state, detail="; ".join(d for d in details if d))
