from itertools import islice, pairwise
from statistics import mean, stdev

import pytest

from launchers.fake_engine.schedule import Pace, tokens
from launchers.fake_engine.settings import FakeSettings


def due(count: int, *, measured: bool = True, request: int = 1, **told: object) -> list[float]:
    return list(
        islice(Pace(FakeSettings.model_validate(told)).due(request, measured=measured), count)
    )


def test_tokens_are_due_at_whole_multiples_without_drift() -> None:
    at = due(2000, ttft_ms=30, itl_ms=7)
    assert at[:2] == pytest.approx([0.030, 0.037])
    assert at[1999] == pytest.approx(0.030 + 1999 * 0.007)


def test_answers_have_a_pace_of_their_own() -> None:
    assert due(3, measured=False, itl_ms=7, jitter=0.5, answer_ttft_ms=2) == [0.002] * 3


def test_jitter_spreads_gaps_and_keeps_their_mean() -> None:
    at = due(5000, itl_ms=10, jitter=0.1)
    gaps = [1e3 * (late - early) for early, late in pairwise(at)]
    assert mean(gaps) == pytest.approx(10, rel=0.01)
    assert stdev(gaps) == pytest.approx(1, rel=0.1)
    assert at == due(5000, itl_ms=10, jitter=0.1)
    assert at != due(5000, itl_ms=10, jitter=0.1, request=2)
    assert at != due(5000, itl_ms=10, jitter=0.1, launch_seed=2)


def test_a_launch_has_one_factor_drawn_by_its_seed() -> None:
    factors = [
        Pace(FakeSettings(launch_jitter=0.02, launch_seed=seed)).launch_factor
        for seed in range(500)
    ]
    assert mean(factors) == pytest.approx(1, abs=0.005)
    assert stdev(factors) == pytest.approx(0.02, rel=0.15)
    at = due(3, ttft_ms=0, itl_ms=10, launch_jitter=0.02, launch_seed=7)
    assert at == pytest.approx([0, 0.010 * factors[7], 0.020 * factors[7]])


@pytest.mark.parametrize(
    ("limit", "endless", "expected"),
    [
        (9, False, ["The", " answer", " is", " 5."]),
        (2, False, ["The", " answer"]),
        (6, True, ["The", " answer", " is", " 5.", " a", " a"]),
        (0, True, []),
    ],
)
def test_a_text_is_cut_or_filled_up_to_the_limit(
    limit: int, expected: list[str], *, endless: bool
) -> None:
    assert tokens("The answer is 5.", limit, endless=endless) == expected
