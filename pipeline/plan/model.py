"""A plan: which launches and cells an experiment is, in which order, as it is written down."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from pipeline.experiment.gates import Gate, Sequential
from pipeline.experiment.gpu_rule import GpuRule
from pipeline.experiment.quarantine import Quarantine


class LayoutKey(BaseModel):
    """Tensor parallel size, attention DP size, expert parallel size, nodes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tp: int
    attention_dp: int
    ep: int
    nodes: int

    @property
    def attention_tp(self) -> int:
        """Ranks that share one request's attention."""
        return self.tp // self.attention_dp

    @property
    def fuses(self) -> bool:
        """True where MixedComm has something to fuse: 1 < attention DP < TP."""
        return 1 < self.attention_dp < self.tp

    def __str__(self) -> str:
        nodes = f"-n{self.nodes}" if self.nodes > 1 else ""
        return f"tp{self.tp}-dp{self.attention_dp}-ep{self.ep}{nodes}"


Place = tuple[LayoutKey, str]
"""Layout, arm: what a row is of."""


class _Placed(Protocol):
    """A launch or a record."""

    @property
    def layout(self) -> LayoutKey: ...
    @property
    def arm(self) -> str: ...


_P = TypeVar("_P", bound=_Placed)


def by_place(found: Iterable[_P]) -> defaultdict[Place, list[_P]]:
    """Launches or records of each arm on each layout, in their order; none where there is none."""
    places: defaultdict[Place, list[_P]] = defaultdict(list)
    for one in found:
        places[one.layout, one.arm].append(one)
    return places


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cell(_Frozen):
    """One job on one launch."""

    id: str
    job: str
    kind: str
    settings: dict[str, Any]


class Launch(_Frozen):
    """One fresh server process and the cells that run on it, in order.

    ``under`` is what the server is started under, a tracer for one; it and ``argv`` may hold
    ``{port}``; ``env`` is set over the inherited environment, after the names in
    ``env_unset`` have been taken out of it: an arm's switch that is exported in the user's shell
    must not reach the other arms. ``unsupported`` says why this arm cannot mean anything on this
    layout; such a launch is not started and its cells are recorded as unsupported. ``optional``
    launches belong to blocks that are bought only while a speed is undecided.
    """

    index: int
    id: str
    arm: str
    layout: LayoutKey
    block: int
    under: list[str] = []
    argv: list[str]
    env: dict[str, str]
    env_unset: list[str]
    host: str
    port: int | None
    ready_timeout_s: float
    stop_timeout_s: float
    unsupported: str
    optional: bool = False
    cells: list[Cell]


class ArmPlan(_Frozen):
    """An arm with its preset written out.

    ``differs`` are patterns of facts in which it may differ from the reference besides its flags
    and environment: the preset's own, and those that the experiment declares.
    """

    name: str
    preset: str | None
    summary: str
    args: dict[str, Any]
    env: dict[str, str]
    plugins: list[str]
    fake: dict[str, Any]
    differs: list[str] = []


class PlanModel(_Frozen):
    """The model as the servers and the clients get it."""

    path: str
    served_name: str
    tokenizer: str


class Plan(_Frozen):
    """Everything that a run will do; ``run`` executes exactly this.

    ``repeats`` names arms that run what an earlier arm runs, by name
    (:func:`pipeline.plan.equal_arms.equal_arms`).
    """

    schema_version: Literal[1] = 1
    experiment: str
    description: str
    hash: str
    engine: Literal["sglang", "fake"]
    engine_version: str
    device: Literal["cuda", "cpu"]
    python: str
    model: PlanModel
    reference: str
    baselines: list[str] = []
    arms: list[ArmPlan]
    repeats: dict[str, str] = {}
    layouts: list[LayoutKey]
    launches_per_arm: int
    sequential: Sequential | None = None
    alpha: float
    gpu_rule: GpuRule | None = None
    require_proof: bool = False
    gates: dict[str, dict[str, Gate]]
    quarantine: list[Quarantine] = []
    jobs: dict[str, dict[str, Any]]
    launches: list[Launch]
