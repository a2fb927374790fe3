"""How numbers stand in a report: digits and units from the one table of metrics."""

from __future__ import annotations

from evals.metrics import METRICS, is_fraction
from pipeline.gate.model import Bounds, Check, Measured

__all__ = [
    "against_text",
    "bounds_text",
    "estimate_text",
    "flips_text",
    "limit_text",
    "measured_n_text",
    "method_text",
    "n_text",
    "one_digit",
    "p_text",
    "reference_text",
    "share_text",
    "value_text",
]

_NONE = "\N{EN DASH}"


def value_text(metric: str, value: float | None) -> str:
    """A metric's value with its unit; a dash for none."""
    if value is None:
        return _NONE
    known = METRICS[metric]
    if is_fraction(metric):
        return f"{100 * value:.{known.digits - 2}f} %"
    return f"{value:,.{known.digits}f} {known.unit}"


def bounds_text(measured: Measured) -> str:
    """The interval of a fraction, in percent; "" without one."""
    if measured.interval is None:
        return ""
    lower, upper = measured.interval
    digits = METRICS[measured.metric].digits - 2
    return f"[{100 * lower:.{digits}f}, {100 * upper:.{digits}f}]"


def estimate_text(check: Check) -> str:
    """A difference in points or a ratio, with its interval."""
    bounds = {"ratio": (1, ".3f"), "level": (100, ".2f"), "difference": (100, "+.2f")}
    if check.measure not in bounds:
        return point_text(check)
    scale, form = bounds[check.measure]
    return point_text(check) + _interval(check.interval, scale, form)


def point_text(check: Check) -> str:
    """The estimate alone."""
    if check.estimate is None:
        return _NONE
    if check.measure == "ratio":
        return f"{check.estimate:.3f}"
    if check.measure == "shift":
        noise = check.reference_value
        told = "" if noise is None else f" (noise {noise:.4f})"
        return f"{check.estimate:.4f} nats{told}"
    if check.measure == "level":
        return f"{100 * check.estimate:.2f} %"
    return f"{100 * check.estimate:+.2f} pt"


def _interval(bounds: Bounds | None, scale: float, form: str) -> str:
    if bounds is None:
        return ""
    return f" [{scale * bounds[0]:{form}}, {scale * bounds[1]:{form}}]"


def against_text(check: Check) -> str:
    """What the value is held against, with a baseline's name."""
    return f"{check.against} {check.other}" if check.other else check.against


def method_text(check: Check) -> str:
    """Interval and test, and what a bootstrap says beside it."""
    if check.bootstrap is None:
        return check.method
    return f"{check.method}; bootstrap over launches and runs{_interval(check.bootstrap, 1, '.3f')}"


def reference_text(check: Check) -> str:
    """The other side's value."""
    if check.against == "floor":
        return _NONE
    return value_text(check.metric, check.reference_value)


def limit_text(check: Check) -> str:
    """The gate: its margin, its floor, or a dash where there is none."""
    if check.measure == "shift" and check.margin is not None:
        return f"{check.margin:.4g} nats"
    if check.floor is not None:
        return f"at least {100 * check.floor:.4g} %"
    if check.margin is None:
        return _NONE
    return f"{100 * check.margin:.4g} {'pt' if check.measure == 'difference' else '%'}"


def n_text(check: Check) -> str:
    """What was counted: launches or questions."""
    if check.n is None:
        return _NONE
    if check.measure == "ratio":
        return _launches(check.n)
    return f"{check.n} {'texts' if check.measure == 'shift' else 'questions'}"


def flips_text(check: Check) -> str:
    """On how many questions the arm's mean is higher and lower than the other side's."""
    return f"{check.higher} up, {check.lower} down"


def _launches(count: int) -> str:
    return "1 launch" if count == 1 else f"{count} launches"


def measured_n_text(measured: Measured) -> str:
    """What was counted, and how often each question was asked."""
    if measured.repeats is None:
        return _launches(measured.n)
    return f"{measured.n} questions x {measured.repeats}"


def share_text(value: float | None) -> str:
    """A share in percent, with one digit; a dash for none."""
    return _NONE if value is None else f"{100 * value:.1f} %"


def one_digit(value: float | None) -> str:
    """A mean of counts, with one digit; a dash for none."""
    return _NONE if value is None else f"{value:.1f}"


def p_text(p: float | None) -> str:
    """A p-value with two digits that count."""
    if p is None:
        return _NONE
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"
