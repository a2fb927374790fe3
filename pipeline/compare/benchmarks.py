"""The verdict of two sides' serving benchmarks, load by load; pure.

Requests and tokens of one server are no replicates, so one launch a side shows nothing: the ratio
of launches is judged by the rule of a run's own gate.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evals.latency.results import BenchResult
from evals.metrics import METRICS
from pipeline.compare.comparison import Rules, told_diffs
from pipeline.compare.pairing import SettingDiff, settings_diff
from pipeline.gate.model import Check, Verdict, worst
from pipeline.gate.speed import decide_ratio
from pipeline.stats import holm, launch_ratio

__all__ = ["DEFAULT_METRICS", "LoadComparison", "compare_loads"]

DEFAULT_METRICS = ("median_ttft_ms", "median_tpot_ms", "median_itl_ms", "output_throughput")
"""What is judged where no metric is named."""

# What decides which result of one side belongs to which of the other.
_LOAD = (
    "dataset_name",
    "random_input_len",
    "random_output_len",
    "random_range_ratio",
    "sharegpt_output_len",
    "num_prompts",
    "request_rate",
    "burstiness",
    "max_concurrency",
    "ramp_up_strategy",
    "ramp_up_start_rps",
    "ramp_up_end_rps",
)
# Tokens a request, by how much they may differ: answers end where the model ends them.
_LENGTHS = {"input_tokens_per_request": 0.01, "output_tokens_per_request": 0.05}
# A time of a token rests on how a client counts tokens; so does a throughput of tokens.
_BY_CLIENT = ("tpot", "ttft", "output_throughput", "total_throughput")


@dataclass(frozen=True, kw_only=True)
class LoadComparison:
    """One load on both sides.

    Attributes:
        load: In words.
        verdict: The worst of its metrics; missing where nothing can be judged.
        reason: One sentence.
        settings: That differ.
        checks: A metric each.
        files: Of the reference and of the other side.
    """

    load: str
    verdict: Verdict
    reason: str
    settings: Sequence[SettingDiff]
    checks: Sequence[Check]
    files: tuple[int, int]


_Group = list[BenchResult]


def compare_loads(
    reference: Sequence[BenchResult],
    other: Sequence[BenchResult],
    rules: Rules,
    *,
    launches: bool,
    metrics: Sequence[str],
) -> list[LoadComparison]:
    """Compare every load that both sides ran.

    Args:
        reference: Results of what is held to be right.
        other: Those of what is judged.
        rules: How; a margin is a fraction by which a metric may be worse.
        launches: Whether each file is a launch of its own, which no file tells.
        metrics: What is judged; a metric that neither side has is left out if others are there.
    """
    pairs, alone = _paired(_groups(reference), _groups(other))
    made = [_compared(one, two, rules, launches=launches, metrics=metrics) for one, two in pairs]
    made = _decided(made, rules)
    if alone and (not made or not rules.shared_only):
        made += [_alone(group) for group in alone]
    return made


def _groups(results: Sequence[BenchResult]) -> list[_Group]:
    """Results of equal load, in the order in which loads appear."""
    groups: list[_Group] = []
    for result in results:
        for group in groups:
            if _same_load(group[0], result):
                group.append(result)
                break
        else:
            groups.append([result])
    return groups


def _same_load(one: BenchResult, other: BenchResult) -> bool:
    return all(_agree(name, one.settings, other.settings) for name in (*_LOAD, *_LENGTHS))


def _agree(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if name in _LENGTHS and name in one and name in other:
        allowed = _LENGTHS[name] * max(one[name], other[name])
        return bool(abs(one[name] - other[name]) <= allowed)
    return bool(one.get(name) == other.get(name))


def _paired(
    left: Sequence[_Group], right: Sequence[_Group]
) -> tuple[list[tuple[_Group, _Group]], list[_Group]]:
    """Groups of equal load, and those without a partner; one left on each side are a pair."""
    pairs: list[tuple[_Group, _Group]] = []
    open_right = list(right)
    open_left: list[_Group] = []
    for group in left:
        partner = next((one for one in open_right if _same_load(group[0], one[0])), None)
        if partner is None:
            open_left.append(group)
            continue
        open_right.remove(partner)
        pairs.append((group, partner))
    if len(open_left) == len(open_right) == 1:
        return [*pairs, (open_left[0], open_right[0])], []
    return pairs, open_left + open_right


def _alone(group: _Group) -> LoadComparison:
    return LoadComparison(
        load=_load_text(group[0]),
        verdict=Verdict.MISSING,
        reason=f"only {group[0].place} has this load; --shared leaves it out",
        settings=[],
        checks=[],
        files=(0, 0),
    )


def _load_text(result: BenchResult) -> str:
    parts = [f"{n} {result.settings[n]}" for n in _LOAD if n in result.settings]
    lengths = [
        f"{result.settings[name]:.0f} {name.replace('_', ' ')}"
        for name in _LENGTHS
        if name in result.settings
    ]
    return ", ".join([*parts, *lengths])


def _compared(
    reference: _Group,
    other: _Group,
    rules: Rules,
    *,
    launches: bool,
    metrics: Sequence[str],
) -> LoadComparison:
    made = LoadComparison(
        load=_load_text(reference[0]),
        verdict=Verdict.MISSING,
        reason="",
        settings=_diffs(reference[0], other[0]),
        checks=[],
        files=(len(_by_file(reference)), len(_by_file(other))),
    )
    for group in (reference, other):
        if problem := _group_problem(group, launches=launches):
            return replace(made, reason=problem)
    checks = [
        _check(made.load, metric, reference, other, rules, launches=launches)
        for metric in metrics
        if any(metric in one.metrics for one in (*reference, *other))
    ]
    if not checks:
        return replace(made, reason=f"neither side has {' or '.join(metrics)}")
    if made.settings and not rules.any_settings:
        reason = f"not comparable: {told_diffs(made.settings)}; --any-settings judges all the same"
        return replace(made, reason=reason, checks=_undecided(checks, reason))
    if rules.margin is None:
        reason = "no margin was given (--margin 0.03 is 3 %), nothing is judged"
        return replace(made, reason=reason, checks=_undecided(checks, reason))
    return replace(made, checks=checks)


def _group_problem(group: _Group, *, launches: bool) -> str:
    """Why a side's results of one load must not be judged; "" if they may."""
    if problem := next((f"{one.place}: {one.problem}" for one in group if one.problem), ""):
        return problem
    if inside := next((diffs for one in group if (diffs := _diffs(group[0], one))), []):
        return f"files of one side differ: {told_diffs(inside)}"
    if launches and (copies := _copies(group)):
        return f"{' and '.join(copies)} hold the same result: a copy is no launch"
    return ""


def _diffs(one: BenchResult, other: BenchResult) -> list[SettingDiff]:
    return [
        SettingDiff(name=diff.name, reference=_rounded(diff.reference), arm=_rounded(diff.arm))
        for diff in settings_diff(one.settings, other.settings)
        if not _agree(diff.name, one.settings, other.settings)
        or diff.name not in one.settings
        or diff.name not in other.settings
    ]


def _rounded(value: str) -> str:
    try:
        return f"{float(value):g}"
    except ValueError:
        return value


def _by_file(group: _Group) -> dict[str, list[BenchResult]]:
    files: dict[str, list[BenchResult]] = defaultdict(list)
    for result in group:
        files[result.file].append(result)
    return files


def _copies(group: _Group) -> list[str]:
    """Files of one side with equal results, as no two launches measure them; empty if none."""
    files: dict[tuple[tuple[str, float], ...], str] = {}
    for one in group:
        other = files.setdefault(tuple(sorted(one.metrics.items())), one.file)
        if other != one.file:
            return [other, one.file]
    return []


def _values(group: _Group, metric: str) -> list[float]:
    """One value a file: the median over its results, which are runs on one server."""
    return [
        statistics.median(result.metrics[metric] for result in results)
        for results in _by_file(group).values()
    ]


def _check(
    load: str, metric: str, reference: _Group, other: _Group, rules: Rules, *, launches: bool
) -> Check:
    """One metric, with its ratio; open where it is still to be decided."""
    check = Check(
        job=load,
        metric=metric,
        against="reference",
        gated=True,
        measure="ratio",
        margin=rules.margin,
    )
    without = [one.place for one in (*reference, *other) if metric not in one.metrics]
    if without:
        return _missing(check, f"{without[0]} has no {metric}")
    if (kind := _definitions(metric, reference[0], other[0])) is not None:
        return _missing(check, f"{metric} is not the same on both sides: {kind}")
    left, right = _values(reference, metric), _values(other, metric)
    # Numbered apart: files do not tell which launch of one side belongs to which of the other.
    seen = launch_ratio(dict(enumerate(left)), dict(enumerate(right, start=len(left))), rules.alpha)
    lower_is_better = METRICS[metric].better == "lower"
    check = check.model_copy(
        update={
            "reference_value": statistics.geometric_mean(left),
            "value": statistics.geometric_mean(right),
            "estimate": seen.ratio,
            "n": min(seen.n_reference, seen.n_arm),
        }
    )
    if not launches or seen.interval is None:
        return check.model_copy(
            update={
                "verdict": Verdict.INCONCLUSIVE,
                "reason": _unseen_spread(len(left), len(right), launches=launches),
            }
        )
    return check.model_copy(
        update={
            "interval": tuple(seen.interval),
            "p_worse": seen.p_higher if lower_is_better else seen.p_lower,
            "p_better": seen.p_lower if lower_is_better else seen.p_higher,
            "method": seen.method,
        }
    )


def _missing(check: Check, reason: str) -> Check:
    return check.model_copy(update={"verdict": Verdict.MISSING, "reason": reason})


def _unseen_spread(left: int, right: int, *, launches: bool) -> str:
    if min(left, right) > 1 and not launches:
        return (
            f"no file tells whether the {left} and {right} files are from launches of their own; "
            "if each is, say --launches"
        )
    return (
        f"{left} and {right} files: how launches differ by themselves was not seen; start each "
        "server anew 3 times or more, keep one file a launch in one folder a side, and say "
        "--launches"
    )


def _definitions(metric: str, one: BenchResult, other: BenchResult) -> str | None:
    """How two clients define a metric of one name differently; None where they do not."""
    if "itl" in metric and one.itl != other.itl:
        return f"{one.itl}, against {other.itl}"
    if one.client != other.client and any(part in metric for part in _BY_CLIENT):
        return f"{one.client} and {other.client} count tokens and first tokens each in its own way"
    return None


def _undecided(checks: Sequence[Check], reason: str) -> list[Check]:
    return [
        check if check.verdict is Verdict.MISSING else _missing(check, reason) for check in checks
    ]


def _decided(made: Sequence[LoadComparison], rules: Rules) -> list[LoadComparison]:
    """Decide what is open, with Holm's p-values over all metrics of all loads."""
    still = [check for load in made for check in load.checks if check.verdict is None]
    worse = holm([check.p_worse for check in still if check.p_worse is not None])
    better = holm([check.p_better for check in still if check.p_better is not None])
    decided = iter(
        decide_ratio(check, p_worse, p_better, rules.alpha)
        for check, p_worse, p_better in zip(still, worse, better, strict=True)
    )
    result: list[LoadComparison] = []
    for load in made:
        checks = [check if check.verdict is not None else next(decided) for check in load.checks]
        if load.reason or not checks:
            result.append(replace(load, checks=checks))
            continue
        verdict = worst(check.verdict for check in checks if check.verdict is not None)
        names = [check.metric for check in checks if check.verdict is verdict]
        reason = f"{', '.join(names)}: {next(c.reason for c in checks if c.verdict is verdict)}"
        if load.settings:
            reason += f"; judged although {told_diffs(load.settings)}"
        result.append(replace(load, checks=checks, verdict=verdict, reason=reason))
    return result
