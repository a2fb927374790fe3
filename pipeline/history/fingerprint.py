"""What a night ran with, in keys that two nights can be held against each other by; pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.history.model import ArmFacts
from pipeline.plan.model import LayoutKey, Plan
from pipeline.records.facts import Facts
from pipeline.records.record import Record, Status

__all__ = ["MAY_CHANGE", "arm_facts", "changes", "forbidden_changes", "named"]

MAY_CHANGE = ("driver", "sglang")
"""What a gate may be told to expect as changed; machine, GPU, model, data and protocol never."""

# Sizes that SGLang computes from the memory that is left, which no two starts share to the byte.
_MEASURED = ("max_total_num_tokens", "max_req_input_len", "max_running_requests")

# Settings of a job that change neither what is asked nor how fast it is answered.
_HARMLESS = ("deadline_s", "launches")

# Of a record's details: what says which questions were asked, and how.
_JOB_DIGESTS = {"data": "ids_digest", "protocol": "protocol_digest"}
_JOB_PARTS = (*_JOB_DIGESTS, "settings")

_NAMED = 6


def arm_facts(
    plan: Plan,
    layout: LayoutKey,
    arm: str,
    *,
    facts: Mapping[str, Facts],
    records: Iterable[Record],
    model: Mapping[str, Any],
) -> ArmFacts:
    """What one arm ran with on one layout, over all its launches.

    Values in which its own launches differ are kept as the sorted list of them.

    Args:
        plan: The run's plan.
        layout: The layout.
        arm: The arm's name.
        facts: By launch id.
        records: All records of the run.
        model: The model as the run's provenance tells it.
    """
    own = [r for r in records if (r.layout, r.arm) == (layout, arm) and r.status is Status.OK]
    launches = sorted({record.launch for record in own})
    lost = [launch for launch in launches if launch not in facts]
    known = [facts[launch] for launch in launches if launch in facts]
    digest = hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest()[:16]
    fixed: dict[str, Any] = {
        "model.path": plan.model.path,
        "model.files": digest,
        "engine": plan.engine,
        **_shared(_fixed(one) for one in known),
        **_job_facts(plan, own),
    }
    return ArmFacts(
        layout=layout,
        arm=arm,
        fixed=fixed,
        other=_shared(_other(one) for one in known),
        gap=_gap(launches, lost),
    )


def _gap(launches: Sequence[str], lost: Sequence[str]) -> str:
    if not launches:
        return "no record that counts"
    return f"{', '.join(lost)} kept no facts.json" if lost else ""


def _fixed(facts: Facts) -> dict[str, Any]:
    packages = facts.packages
    return {
        **{f"machine.{key}": value for key, value in _flat(facts.machine)},
        **{f"gpu.{key}": value for key, value in _flat(facts.gpu.get("gpus") or [])},
        "driver": facts.gpu.get("driver"),
        "sglang.version": packages.get("sglang"),
        "sglang.commit": packages.get("sglang commit"),
    }


def _other(facts: Facts) -> dict[str, Any]:
    arguments = {key: value for key, value in facts.arguments.items() if key not in _MEASURED}
    parts = {
        "packages": facts.packages,
        "libraries": facts.libraries,
        "arguments": arguments,
        "environment": facts.environment,
        "rank_environment": facts.rank_environment,
    }
    return {key: value for key, value in _flat(parts) if key != "packages.sglang"}


def _job_facts(plan: Plan, records: Sequence[Record]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for job, settings in plan.jobs.items():
        kept = {key: value for key, value in settings.items() if key not in _HARMLESS}
        found |= {f"settings.{job}.{key}": value for key, value in _flat(kept)}
        for name, digest in _JOB_DIGESTS.items():
            seen = {str(r.details[digest]) for r in records if r.job == job and digest in r.details}
            if seen:
                found[f"{name}.{job}"] = " | ".join(sorted(seen))
    return found


def _shared(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    every = list(parts)
    found: dict[str, Any] = {}
    for key in sorted({key for part in every for key in part}):
        values = {json.dumps(part.get(key), sort_keys=True) for part in every}
        found[key] = (
            json.loads(next(iter(values))) if len(values) == 1 else " | ".join(sorted(values))
        )
    return found


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested mappings and lists of mappings as dotted keys; any other list is one value."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{prefix}.{index}" if prefix else str(index))
    elif value != [] or prefix:
        yield prefix, value


def forbidden_changes(
    tonight: ArmFacts, then: ArmFacts, job: str, may_change: Sequence[str]
) -> list[str]:
    """What differs that must not, for a comparison of one job; each as ``key: then -> tonight``.

    Args:
        tonight: The later night.
        then: The baseline's.
        job: The job; what belongs to other jobs is left out.
        may_change: Of :data:`MAY_CHANGE`, what is expected to change.
    """
    return [
        text
        for key, text in _differing(then.fixed, tonight.fixed)
        if key.split(".")[0] not in may_change and _belongs(key, job)
    ]


def changes(
    tonight: ArmFacts, then: ArmFacts, job: str | None = None, *, fixed: Sequence[str] | None = None
) -> list[str]:
    """Everything that differs between two nights of one arm; what explains most comes first.

    Args:
        tonight: The later night.
        then: The earlier.
        job: Only what concerns this job; None: all.
        fixed: Of what must not change by itself, only these; None: all.
    """
    told = [
        text
        for key, text in _differing(then.fixed, tonight.fixed)
        if (job is None or _belongs(key, job)) and (fixed is None or key.split(".")[0] in fixed)
    ]
    return told + [text for _, text in _differing(then.other, tonight.other)]


def _belongs(key: str, job: str) -> bool:
    part, _, rest = key.partition(".")
    return part not in _JOB_PARTS or rest == job or rest.startswith(f"{job}.")


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in [*then, *(key for key in now if key not in then)]:
        if then.get(key) != now.get(key):
            yield key, f"{key}: {_text(then.get(key))} -> {_text(now.get(key))}"


def _text(value: object) -> str:
    return "not there" if value is None else str(value)


def named(differing: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = f" and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
    return "; ".join(differing[:_NAMED]) + more
