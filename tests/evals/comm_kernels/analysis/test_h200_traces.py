"""Four H200, each with a hundred streams: the right numbers, and what must not change them."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest

from evals.comm_kernels.analysis.capture import Known, analyse
from evals.comm_kernels.analysis.figures import Figures
from evals.comm_kernels.traces.table import TraceError

TRACES = Path(__file__).parent / "h200x4"
LAYOUTS = {
    "dp2": Known(attention_tp=2, attention_dp=2, ep=4, layers=48),
    "dp4": Known(attention_tp=1, attention_dp=4, ep=4, layers=48),
}
# With and without imbalance, ms, and collectives a step.
RIGHT = {"dp2": (1.9362, 1.2290, 195), "dp4": (1.0915, 0.7108, 98)}
WORLD: list[tuple[int, ...]] = [(0, 1, 2, 3)]
PAIRS: list[tuple[int, ...]] = [(0, 1), (2, 3)]

Document = dict[str, Any]
both = pytest.mark.parametrize("layout", ["dp2", "dp4"])


def documents(layout: str) -> list[Document]:
    return [
        json.loads(gzip.decompress(path.read_bytes()))
        for path in sorted((TRACES / layout).glob("*.gz"))
    ]


def analysed(folder: Path, layout: str, changed: list[Document], known: Known) -> Figures:
    paths = []
    for rank, document in enumerate(changed):
        paths.append(folder / f"x-TP-{rank}.trace.json")
        paths[-1].write_text(json.dumps(document), encoding="utf-8")
    return analyse(paths, known).figures


def collectives(document: Document) -> list[list[tuple[float, float, str]]]:
    """Start, duration and name of each NCCL kernel, by replay in order."""
    replays: dict[int, list[tuple[float, float, str]]] = {}
    for event in document["traceEvents"]:
        if event["cat"] == "cuda_runtime":
            replays[event["args"]["correlation"]] = []
    for event in document["traceEvents"]:
        if event["cat"] == "kernel" and "nccl" in event["name"]:
            row = (event["ts"], event["dur"], event["name"])
            replays[event["args"]["correlation"]].append(row)
    return sorted(sorted(replay) for replay in replays.values())


def groups(layout: str, place: int, count: int) -> list[tuple[int, ...]]:
    """The embedding's all-reduce, then four a layer, then one for the hidden states and logits."""
    if layout == "dp4" or place >= count - 2:
        return WORLD
    return PAIRS if place == 0 or place % 4 in {1, 0} else WORLD


@both
def test_the_numbers_are_those_of_a_plain_loop(layout: str) -> None:
    found = analyse(sorted((TRACES / layout).glob("*.gz")), LAYOUTS[layout]).figures
    ranks = [collectives(document)[1:-1] for document in documents(layout)]
    waited, alone = [], []
    for step in zip(*ranks, strict=True):
        waited.append(fmean(sum(took for _, took, _ in rank) for rank in step))
        shortest = 0.0
        for place, same in enumerate(zip(*step, strict=True)):
            for group in groups(layout, place, len(step[0])):
                shortest += min(same[rank][1] for rank in group) * len(group)
        alone.append(shortest / len(step))
    assert found.refused == ""
    assert found.with_imbalance_ms == pytest.approx(median(waited) / 1000, abs=1e-6)
    assert found.without_imbalance_ms == pytest.approx(median(alone) / 1000, abs=1e-6)
    with_ms, without_ms, count = RIGHT[layout]
    assert found.with_imbalance_ms == pytest.approx(with_ms, abs=2e-4)
    assert found.without_imbalance_ms == pytest.approx(without_ms, abs=2e-4)
    assert (found.kernels_per_step, found.steps) == (count, 8)


def shuffled(changed: list[Document]) -> None:
    """Other streams on every rank, as a graph's replay may have them."""
    for rank, document in enumerate(changed):
        chance = random.Random(rank)
        for event in document["traceEvents"]:
            if event["cat"] == "kernel":
                event["args"]["stream"] = chance.randrange(7, 140)


def few_streams(changed: list[Document]) -> None:
    for rank, document in enumerate(changed):
        chance = random.Random(rank)
        for event in document["traceEvents"]:
            if event["cat"] == "kernel":
                event["args"]["stream"] = chance.choice((7, 13, 17))


def clocks(*late_us: float) -> Callable[[list[Document]], None]:
    def moved(changed: list[Document]) -> None:
        for late, document in zip(late_us, changed, strict=True):
            for event in document["traceEvents"]:
                event["ts"] += late

    return moved


@both
@pytest.mark.parametrize(
    "spoil",
    [
        shuffled,
        few_streams,
        clocks(0, 40, -70, 900),
        clocks(0, 4_000, 9_300, -9_900),
        clocks(0, 1e9, -3e8, 7e10),
    ],
    ids=["streams", "few streams", "clocks 1 ms", "clocks a step", "clocks of other hosts"],
)
def test_streams_and_clocks_of_ranks_change_nothing(
    spoil: Callable[[list[Document]], None], layout: str, tmp_path: Path
) -> None:
    changed = documents(layout)
    spoil(changed)
    found = analysed(tmp_path, layout, changed, LAYOUTS[layout])
    assert found.with_imbalance_ms == pytest.approx(RIGHT[layout][0], abs=2e-4)
    assert found.without_imbalance_ms == pytest.approx(RIGHT[layout][1], abs=2e-4)


def replays(document: Document) -> list[int]:
    """Correlations of the replays in order."""
    launches = [event for event in document["traceEvents"] if event["cat"] == "cuda_runtime"]
    return [event["args"]["correlation"] for event in sorted(launches, key=lambda one: one["ts"])]


def without(document: Document, correlation: int) -> None:
    document["traceEvents"] = [
        event for event in document["traceEvents"] if event["args"]["correlation"] != correlation
    ]


@both
def test_a_rank_that_began_a_step_late_on_another_clock(layout: str, tmp_path: Path) -> None:
    """Ranks have equally many steps, but the first of rank 2 is the second of the others."""
    changed = documents(layout)
    for rank, document in enumerate(changed):
        without(document, replays(document)[0 if rank == 2 else -1])
    clocks(0, 0, 4e7, 0)(changed)
    moved = analysed(tmp_path, layout, changed, LAYOUTS[layout])
    (tmp_path / "same").mkdir()
    clocks(0, 0, -4e7, 0)(changed)
    same = analysed(tmp_path / "same", layout, changed, LAYOUTS[layout])
    assert moved.steps == same.steps == 6
    assert moved.without_imbalance_ms == pytest.approx(same.without_imbalance_ms, abs=1e-9)


@both
@pytest.mark.parametrize("every", [False, True], ids=["in one step", "in every step"])
def test_a_rank_that_lost_a_collective_is_refused(every: bool, layout: str, tmp_path: Path) -> None:
    changed = documents(layout)
    events = changed[3]["traceEvents"]
    for correlation in replays(changed[3])[:: 1 if every else 5]:
        mine = [
            event for event in events
            if event["args"]["correlation"] == correlation and "nccl" in event["name"]
        ]  # fmt: skip
        events.remove(mine[21])
    said = "rank 3 runs" if every else "step 5: rank 3 has"
    with pytest.raises(TraceError, match=said):
        analysed(tmp_path, layout, changed, LAYOUTS[layout])


def test_without_a_layout_groups_of_two_are_refused_and_world_is_taken(tmp_path: Path) -> None:
    found = analyse(sorted((TRACES / "dp2").glob("*.gz")), Known()).figures
    assert found.without_imbalance_ms is None
    assert "groups of 2 of its 4 ranks" in found.refused
    changed = documents("dp4")
    clocks(0, 1e9, -3e8, 7e10)(changed)
    moved = analysed(tmp_path, "dp4", changed, Known())
    assert moved.without_imbalance_ms == pytest.approx(RIGHT["dp4"][1], abs=2e-4)
