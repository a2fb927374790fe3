"""Directions come from the one table alone: every metric's, and nobody else's opinion of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from evals.metrics import METRICS

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "evals" / "metrics.py"
MODULES = sorted(
    path
    for room in ("pipeline", "evals", "launchers", "benchmarks")
    for path in (ROOT / room).rglob("*.py")
    if path != TABLE
)

# Said here once more and independently, so that a flipped word in the table is seen.
HIGHER = {
    "score", "output_throughput", "total_throughput", "steady_throughput", "request_throughput",
    "goodput", "slo_attainment",
}  # fmt: skip
NEITHER = {"logprob_noise", "tokens_per_event", "accept_length", "traced_step_ms"}
LOWER = {
    "no_answer_rate", "truncated_rate", "error_rate", "logprob_shift", "steady_itl_ms",
    "steady_p90_gap_ms", "steady_p95_gap_ms", "steady_p99_gap_ms", "comm_with_imbalance_ms",
    "comm_without_imbalance_ms", "comm_span_ms", "comm_exposed_ms", "comm_kernels_per_step",
    "other_kernels_ms", "gaps_ms",
    *(f"{statistic}_{name}_ms" for statistic in ("median", "p90", "p95", "p99")
      for name in ("itl", "tpot", "ttft", "e2e")),
}  # fmt: skip

# Which metric a module means, never which way it is better: what is told of it besides, or drawn.
CHOSEN = {"score", "median_itl_ms"}
# Not which way: whether a load can measure it at all (evals/latency/job.py).
FAMILIES = {"steady_"}


def test_every_metric_has_its_direction(subtests: pytest.Subtests) -> None:
    directions = {"higher": HIGHER, "lower": LOWER, "neither": NEITHER}
    for name, metric in METRICS.items():
        with subtests.test(name):
            said = [word for word, names in directions.items() if name in names]
            assert said == [metric.better]


def test_nothing_is_said_of_metrics_that_are_not_there() -> None:
    assert METRICS.keys() == HIGHER | LOWER | NEITHER


def offences(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Where a direction, or what a metric is, is inferred from its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_called(node, "endswith", "startswith", "search"):
            words = {word for argument in node.args for word in _words(argument)}
            found = {word for word in words - FAMILIES if _names_metrics(word)}
            if found and not _is_path(node):
                yield node.lineno, f"looks into a name: {sorted(found)}"
        elif isinstance(node, ast.Compare):
            words = {word for part in (node.left, *node.comparators) for word in _words(part)}
            if words & METRICS.keys() - CHOSEN:
                yield node.lineno, f"compares with {sorted(words & METRICS.keys() - CHOSEN)}"
            if words & {"higher", "lower"} and "better" not in ast.unparse(node):
                yield node.lineno, "compares a direction that is not the table's"
        elif isinstance(node, ast.Dict):
            keys = {word for key in node.keys if key is not None for word in _words(key)}
            values = {word for value in node.values for word in _words(value)}
            if keys & METRICS.keys() and values & {"higher", "lower", "neither"}:
                yield node.lineno, "is another table of directions"


def _is_called(node: ast.Call, *names: str) -> bool:
    return isinstance(node.func, ast.Attribute) and node.func.attr in names


def _is_path(node: ast.Call) -> bool:
    """A file's suffix or a flag's dashes, whatever else a word may be."""
    return any(word[:1] in (".", "-", "/") for part in node.args for word in _words(part))


def _words(node: ast.AST) -> set[str]:
    """String constants of an expression, a tuple, list or set of them included."""
    parts = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    return {p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)}


def _names_metrics(word: str) -> bool:
    """Whether a piece of text is the beginning or the end of several metrics' names."""
    if len(word) < 3:
        return False
    return any(name.endswith(word) or name.startswith(word) for name in METRICS)


def test_no_other_module_decides_a_direction(subtests: pytest.Subtests) -> None:
    for path in MODULES:
        with subtests.test(str(path.relative_to(ROOT))):
            assert list(offences(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize("text", [
    "better = 'lower' if name.endswith('_ms') else 'higher'",
    "sign = -1 if metric in ('output_throughput', 'goodput') else 1",
    "sign = 1 if metric == 'median_ttft_ms' else -1",
    "BETTER = {'median_tpot_ms': 'higher'}",
    "worse = direction == 'lower'",
])  # fmt: skip
def test_the_search_finds_what_it_is_for(text: str) -> None:
    assert list(offences(ast.parse(text)))


@pytest.mark.parametrize("text", [
    "lower_is_better = METRICS[check.metric].better == 'lower'",
    "if metric == 'score': pass",
    "path.name.endswith('.json')",
])  # fmt: skip
def test_the_search_lets_the_table_be_asked(text: str) -> None:
    assert list(offences(ast.parse(text))) == []
